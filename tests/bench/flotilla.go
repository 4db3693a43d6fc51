package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// devInfo is what `flotilla dev` writes to dev.json.
type devInfo struct {
	APIURL    string `json:"api_url"`
	OpsURL    string `json:"ops_url"`
	Namespace string `json:"namespace"`
	APIKey    string `json:"api_key"`
}

// newFlotillaSide describes `flotilla dev` with its default settings, or a cluster.
func newFlotillaSide(o *options, path, dir string) (*side, error) {
	if o.nodes > 1 {
		return newFlotillaCluster(o, path, dir)
	}
	api, err := freeAddress()
	if err != nil {
		return nil, err
	}
	ops, err := freeAddress()
	if err != nil {
		return nil, err
	}
	etcd, err := freeAddress()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	s := &server{
		name: "flotilla", dir: dir, path: path,
		args: []string{"dev", "--data-dir", data, "--listen-api", api, "--listen-etcd", etcd, "--listen-ops", ops},
		// The CLI's context file is the user's own; it is not to learn of this.
		env: append(serverEnv(o), "XDG_CONFIG_HOME="+dir),
	}
	info := func() (devInfo, error) { return readDevInfo(data) }
	s.probe = func(ctx context.Context) error { return probeFlotilla(ctx, info) }
	return &side{
		name: s.name, server: s,
		etcdAddress: etcd,
		connect: func() (target, error) {
			if o.api == apiEtcd {
				return connectEtcd(etcd)
			}
			client, info, err := connectFlotilla(info)
			if err != nil {
				return nil, err
			}
			return &flotillaTarget{client: client, kv: client.Namespace(info.Namespace).KV}, nil
		},
		profileURL: func() (string, error) {
			info, err := info()
			return info.OpsURL + "/debug/pprof/profile", err
		},
	}, nil
}

func readDevInfo(dataDir string) (devInfo, error) {
	var info devInfo
	data, err := os.ReadFile(filepath.Join(dataDir, "dev.json"))
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(data, &info)
}

func connectFlotilla(readInfo func() (devInfo, error)) (*flotilla.Client, devInfo, error) {
	info, err := readInfo()
	if err != nil {
		return nil, info, err
	}
	client, err := flotilla.New(flotilla.Config{URL: info.APIURL, APIKey: info.APIKey})
	return client, info, err
}

// probeFlotilla succeeds once a key can be read, or is told not to exist.
func probeFlotilla(ctx context.Context, readInfo func() (devInfo, error)) error {
	info, err := readInfo()
	if err != nil {
		return err
	}
	client, err := flotilla.New(flotilla.Config{URL: info.APIURL, APIKey: info.APIKey, AttemptsMax: 1})
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Namespace(info.Namespace).KV.Get(ctx, "probe", nil)
	if errors.Is(err, flotilla.ErrKeyNotFound) {
		return nil
	}
	return err
}

// flotillaTarget is Flotilla through its Go SDK.
type flotillaTarget struct {
	client *flotilla.Client
	kv     *flotilla.KV
}

func (t *flotillaTarget) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	put, err := t.kv.Put(ctx, key, value, nil)
	if err != nil {
		return 0, err
	}
	return put.Revision, nil
}

func (t *flotillaTarget) Get(ctx context.Context, key string, serializable bool) (found, error) {
	var opts *flotilla.GetOptions
	if serializable {
		opts = &flotilla.GetOptions{Serializable: true}
	}
	kv, err := t.kv.Get(ctx, key, opts)
	if err != nil {
		return found{}, err
	}
	return found{revision: kv.ModRevision, bytes: len(kv.Value)}, nil
}

func (t *flotillaTarget) Range(ctx context.Context, start, end string) (keys int, err error) {
	for _, err := range t.kv.Range(ctx, flotilla.KeyRange{Start: start, End: end}, nil) {
		if err != nil {
			return 0, err
		}
		keys++
	}
	return keys, nil
}

func (t *flotillaTarget) Swap(ctx context.Context, key string, value []byte, known uint64) (uint64, error) {
	result, err := t.kv.Txn(ctx, flotilla.Txn{
		If:   []flotilla.Condition{flotilla.IfModRevision(key, flotilla.Equal, known)},
		Then: []flotilla.Op{flotilla.OpPut(key, value, nil)},
	})
	if err != nil {
		return 0, err
	}
	if !result.Succeeded {
		return 0, fmt.Errorf("key %s is not at revision %d", key, known)
	}
	return result.Revision, nil
}

// Fill puts all keys at once: the client makes one message of them.
func (t *flotillaTarget) Fill(ctx context.Context, pairs []pair) error {
	errs := make([]error, len(pairs))
	var puts sync.WaitGroup
	for i, p := range pairs {
		puts.Go(func() { _, errs[i] = t.kv.Put(ctx, p.key, p.value, nil) })
	}
	puts.Wait()
	return errors.Join(errs...)
}

func (t *flotillaTarget) Close() error { return t.client.Close() }
