package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// loudCommand is the argument with which this program is the loud tenants' callers
// alone: a process of its own, so that it can stand back for the server and the quiet
// tenant. Callers are on machines of their own otherwise.
const loudCommand = "loud"

// loudNice is the callers' priority: the lowest.
const loudNice = 19

// loudConfig is whom the loud ones call, as whom.
type loudConfig struct {
	APIURL, EtcdAddress, FloodKey, RangesKey string
}

// loudResult is what the loud ones did, and in which time.
type loudResult struct {
	Flooded int64   `json:"flooded"`
	Refused int64   `json:"refused"`
	Ranges  int64   `json:"ranges"`
	Seconds float64 `json:"seconds"`
}

func (r *loudResult) add(o loudResult) {
	r.Flooded += o.Flooded
	r.Refused += o.Refused
	r.Ranges += o.Ranges
	r.Seconds += o.Seconds
}

// loudProcess is the process of the callers.
type loudProcess struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *json.Decoder
}

// startLoud starts the callers, and returns when their watches are open.
func startLoud(ctx context.Context, cfg loudConfig) (*loudProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &loudProcess{cmd: exec.CommandContext(ctx, "nice", "-n", strconv.Itoa(loudNice), self, loudCommand)}
	p.cmd.Stderr = os.Stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := json.NewEncoder(p.stdin).Encode(cfg); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	var ready bool
	if err := p.stdout.Decode(&ready); err != nil {
		return nil, errors.Join(fmt.Errorf("start the loud tenants: %w", err), p.kill())
	}
	return p, nil
}

// end ends the callers, and returns what they did.
func (p *loudProcess) end() (loudResult, error) {
	var r loudResult
	err := errors.Join(p.stdin.Close(), p.stdout.Decode(&r))
	return r, errors.Join(err, p.cmd.Wait())
}

func (p *loudProcess) kill() error {
	return errors.Join(p.cmd.Process.Kill(), p.cmd.Wait())
}

// loud is the callers of the loud tenants.
type loud struct {
	cfg                      loudConfig
	flooding, ranging        *flotilla.Client
	flooded, refused, ranged atomic.Int64
}

// runLoud is the program of the callers: it reads whom to call, says when it has
// begun, and goes on until its input ends.
func runLoud(ctx context.Context, in io.Reader, out io.Writer) error {
	decoder := json.NewDecoder(in)
	l := &loud{}
	err := decoder.Decode(&l.cfg)
	if err != nil {
		return err
	}
	if l.flooding, err = connectOnce(l.cfg.APIURL, l.cfg.FloodKey); err != nil {
		return err
	}
	if l.ranging, err = connectOnce(l.cfg.APIURL, l.cfg.RangesKey); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var making sync.WaitGroup
	if err := l.watch(ctx, &making); err != nil {
		return err
	}
	began := time.Now()
	l.flood(ctx, &making)
	l.rangeAll(ctx, &making)
	if err := json.NewEncoder(out).Encode(true); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, in) // until it ends
	return json.NewEncoder(out).Encode(loudResult{
		Flooded: l.flooded.Load(), Refused: l.refused.Load(), Ranges: l.ranged.Load(), Seconds: time.Since(began).Seconds(),
	})
}

// flood sends ten times what the tenant may, at even times.
func (l *loud) flood(ctx context.Context, making *sync.WaitGroup) {
	kv, value := l.flooding.Namespace("default").KV, make([]byte, 256)
	const every = time.Second * floodCallers / (floodLimit * floodFactor)
	for range floodCallers {
		making.Go(func() {
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			for ctx.Err() == nil {
				<-ticker.C
				switch _, err := kv.Put(ctx, fmt.Sprintf("flood-%d", rand.IntN(1000)), value, nil); {
				case err == nil:
					l.flooded.Add(1)
				case ctx.Err() == nil:
					l.refused.Add(1)
				}
			}
		})
	}
}

// rangeAll reads all keys again and again.
func (l *loud) rangeAll(ctx context.Context, making *sync.WaitGroup) {
	kv := l.ranging.Namespace("default").KV
	for range rangeCallers {
		making.Go(func() {
			for ctx.Err() == nil {
				for _, err := range kv.Range(ctx, flotilla.Prefix("key-"), nil) {
					if err != nil {
						break
					}
				}
				l.ranged.Add(1)
			}
		})
	}
}

// watch opens the watches, and writes some of what they show.
func (l *loud) watch(ctx context.Context, making *sync.WaitGroup) error {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{l.cfg.EtcdAddress}, Username: "ranges/default", Password: l.cfg.RangesKey, DialTimeout: time.Minute, Logger: zap.NewNop(),
	})
	if err != nil {
		return err
	}
	side := &watchSide{client: client}
	channels, err := side.watch(ctx, neighbourWatches, func(i int) (string, []clientv3.OpOption) { return rangedKey(i), nil })
	if err != nil {
		side.close()
		return err
	}
	making.Go(func() {
		defer side.close()
		<-ctx.Done()
	})
	for _, channel := range channels {
		making.Go(func() {
			for range channel { // they are only to be taken
			}
		})
	}
	kv, value := l.ranging.Namespace("default").KV, make([]byte, 256)
	making.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			<-ticker.C
			_, _ = kv.Put(ctx, rangedKey(rand.IntN(neighbourWatches)), value, nil) // of no interest
		}
	})
	return nil
}
