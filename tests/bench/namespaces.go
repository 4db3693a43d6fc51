package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

const (
	// namespacesPerCall is how many CreateNamespaces takes at most.
	namespacesPerCall = 100
	namespaceCreators = 4
	namespaceWriters  = 1024
	keysPerNamespace  = 10
	// namespacesChecked is how many are read after the restart.
	namespacesChecked = 1000
)

// measureNamespaces measures what a Flotilla of many small namespaces takes,
// and how soon it serves again after kill -9.
func (b *bench) measureNamespaces(ctx context.Context) error {
	s, err := b.makeSide("namespaces", b.opts.flotillaPath, newFlotillaSide)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.server.start(ctx); err != nil {
		return err
	}
	client, info, err := connectFlotilla(func() (devInfo, error) { return readDevInfo(filepath.Join(s.server.dir, "data")) })
	if err != nil {
		return err
	}
	defer client.Close()
	n := b.opts.namespaces
	r := &namespacesResult{Namespaces: n, KeysEach: keysPerNamespace}
	note := func(into *nodeState) error {
		u, err := s.server.usage()
		if err != nil {
			return err
		}
		goroutines, err := countGoroutines(ctx, info.OpsURL)
		*into = nodeState{Memory: u.memory, Goroutines: goroutines}
		return err
	}
	if err := note(&r.Empty); err != nil {
		return err
	}
	if err := b.fillNamespaces(ctx, client, n); err != nil {
		return err
	}
	if err := note(&r.Filled); err != nil {
		return err
	}
	took, err := s.server.restart(ctx)
	if err != nil {
		return err
	}
	r.RestartSeconds = took.Seconds()
	if err := note(&r.Restarted); err != nil {
		return err
	}
	if err := checkNamespaces(ctx, client, n); err != nil {
		return err
	}
	b.report.Namespaces = r
	b.report.printNamespaces(b.out)
	return nil
}

func namespaceName(i int) string { return fmt.Sprintf("bench-%07d", i) }

func namespaceKey(i int) string { return fmt.Sprintf("key-%d", i) }

// fillNamespaces creates n namespaces and writes the keys of each.
func (b *bench) fillNamespaces(ctx context.Context, client *flotilla.Client, n int) error {
	b.progress.begin("create namespaces", n, "namespaces")
	calls := (n + namespacesPerCall - 1) / namespacesPerCall
	err := inParallel(ctx, namespaceCreators, calls, func(ctx context.Context, call int) error {
		first := call * namespacesPerCall
		names := make([]string, min(namespacesPerCall, n-first))
		for i := range names {
			names[i] = namespaceName(first + i)
		}
		if err := client.CreateNamespaces(ctx, names...); err != nil {
			return err
		}
		b.progress.add(len(names))
		return nil
	})
	if err != nil {
		return fmt.Errorf("create namespaces: %w", err)
	}
	b.progress.end()

	value := make([]byte, b.opts.valueBytes)
	b.progress.begin("write their keys", n*keysPerNamespace, "keys")
	err = inParallel(ctx, namespaceWriters, n, func(ctx context.Context, i int) error {
		kv := client.Namespace(namespaceName(i)).KV
		for k := range keysPerNamespace {
			if _, err := kv.Put(ctx, namespaceKey(k), value, nil); err != nil {
				return err
			}
		}
		b.progress.add(keysPerNamespace)
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the keys of namespaces: %w", err)
	}
	b.progress.end()
	return nil
}

// checkNamespaces reads a key of some namespaces, spread over all.
func checkNamespaces(ctx context.Context, client *flotilla.Client, n int) error {
	step := max(1, n/namespacesChecked)
	return inParallel(ctx, namespaceWriters, n/step, func(ctx context.Context, i int) error {
		name := namespaceName(i * step)
		if _, err := client.Namespace(name).KV.Get(ctx, namespaceKey(keysPerNamespace-1), nil); err != nil {
			return fmt.Errorf("read namespace %s after the restart: %w", name, err)
		}
		return nil
	})
}

// countGoroutines asks the operators' port how many goroutines the node has.
func countGoroutines(ctx context.Context, opsURL string) (count int, err error) {
	err = fetch(ctx, opsURL+"/debug/pprof/goroutine?debug=1", func(response *http.Response) error {
		line, err := bufio.NewReader(response.Body).ReadString('\n')
		if err != nil {
			return err
		}
		number, ok := strings.CutPrefix(strings.TrimSpace(line), "goroutine profile: total ")
		if !ok {
			return fmt.Errorf("unexpected goroutine profile %q", line)
		}
		count, err = strconv.Atoi(number)
		return err
	})
	return count, err
}

// fetch reads what is at a URL.
func fetch(ctx context.Context, url string, read func(*http.Response) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(url + ": " + response.Status)
	}
	return read(response)
}
