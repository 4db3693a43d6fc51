package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"
)

const (
	// profileLoad is how long a side is under load for its profiles, and
	// profileSeconds the part of it that the server's covers.
	profileLoad    = 6 * time.Second
	profileSeconds = 5
)

// profile writes CPU profiles of a server and of this process, its client,
// under a load that is not measured.
func (b *bench) profile(ctx context.Context, s *side, w workload, callers []*caller) (err error) {
	if err := os.MkdirAll(b.opts.profileDir, 0o755); err != nil {
		return err
	}
	path := func(process string) string {
		return filepath.Join(b.opts.profileDir, fmt.Sprintf("%s-%d-%s-%s.pprof", w.name, len(callers), s.name, process))
	}
	file, err := os.Create(path("client"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	fetched := make(chan error, 1)
	go func() { fetched <- fetchProfile(ctx, s, path("server")) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, <-fetched)
	}
	_, _, err = runLoad(ctx, w, callers, profileLoad)
	pprof.StopCPUProfile()
	return errors.Join(err, <-fetched)
}

func fetchProfile(ctx context.Context, s *side, path string) (err error) {
	url, err := s.profileURL()
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return fetch(ctx, fmt.Sprintf("%s?seconds=%d", url, profileSeconds), func(response *http.Response) error {
		_, err := io.Copy(file, response.Body)
		return err
	})
}
