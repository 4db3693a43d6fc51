package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// etcdQuotaBytes keeps etcd's default of 2 GiB from ending a long run.
const etcdQuotaBytes = 8 << 30

// newEtcdSide describes an etcd of one member or of three, with its default
// settings, all but the addresses and the quota.
func newEtcdSide(o *options, path, dir string) (*side, error) {
	addresses, err := freeAddresses(2 * o.nodes)
	if err != nil {
		return nil, err
	}
	clients, peers := addresses[:o.nodes], addresses[o.nodes:]
	var cluster []string
	for i, peer := range peers {
		cluster = append(cluster, fmt.Sprintf("m%d=http://%s", i, peer))
	}
	var members []*server
	for i := range clients {
		own := filepath.Join(dir, strconv.Itoa(i))
		members = append(members, &server{
			name: "etcd", dir: own, path: path, env: serverEnv(o),
			args: []string{
				"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(own, "data"),
				"--listen-client-urls", "http://" + clients[i], "--advertise-client-urls", "http://" + clients[i],
				"--listen-peer-urls", "http://" + peers[i], "--initial-advertise-peer-urls", "http://" + peers[i],
				"--initial-cluster", strings.Join(cluster, ","),
				"--quota-backend-bytes", strconv.Itoa(etcdQuotaBytes),
				// For -profile; it costs nothing while nobody asks.
				"--enable-pprof",
			},
		})
	}
	s := members[0]
	s.others = members[1:]
	s.probe = func(ctx context.Context) error { return probeEtcd(ctx, clients[0]) }
	return &side{
		name: s.name, server: s,
		connect:     func() (target, error) { return connectEtcd(clients...) },
		etcdAddress: clients[0],
		profileURL:  func() (string, error) { return "http://" + clients[0] + "/debug/pprof/profile", nil },
	}, nil
}

func connectEtcd(addresses ...string) (*etcdTarget, error) {
	return connectEtcdAs("", "", addresses...)
}

// connectEtcdAs names a user, unless it is empty.
func connectEtcdAs(user, password string, addresses ...string) (*etcdTarget, error) {
	var endpoints []string
	for _, address := range addresses {
		endpoints = append(endpoints, "http://"+address)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, Username: user, Password: password,
		// It would warn of every call that the end of the run cuts off. What
		// matters it returns, and that ends the run.
		Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, err
	}
	return &etcdTarget{client: client}, nil
}

// probeEtcd succeeds once etcd answers that it is healthy, for which it makes a
// linearizable read itself. Its client would wait long before it connects again
// to a server that is not there yet.
func probeEtcd(ctx context.Context, address string) error {
	return fetch(ctx, "http://"+address+"/health", func(*http.Response) error { return nil })
}

// etcdTarget is etcd through clientv3.
type etcdTarget struct{ client *clientv3.Client }

func (t *etcdTarget) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	put, err := t.client.Put(ctx, key, string(value))
	if err != nil {
		return 0, err
	}
	return uint64(put.Header.Revision), nil
}

func (t *etcdTarget) Get(ctx context.Context, key string, serializable bool) (found, error) {
	var opts []clientv3.OpOption
	if serializable {
		opts = append(opts, clientv3.WithSerializable())
	}
	got, err := t.client.Get(ctx, key, opts...)
	if err != nil {
		return found{}, err
	}
	if len(got.Kvs) != 1 {
		return found{}, fmt.Errorf("key %s does not exist", key)
	}
	return found{revision: uint64(got.Kvs[0].ModRevision), bytes: len(got.Kvs[0].Value)}, nil
}

func (t *etcdTarget) Range(ctx context.Context, start, end string) (int, error) {
	got, err := t.client.Get(ctx, start, clientv3.WithRange(end))
	if err != nil {
		return 0, err
	}
	return len(got.Kvs), nil
}

func (t *etcdTarget) Swap(ctx context.Context, key string, value []byte, known uint64) (uint64, error) {
	result, err := t.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", int64(known))).
		Then(clientv3.OpPut(key, string(value))).
		Commit()
	if err != nil {
		return 0, err
	}
	if !result.Succeeded {
		return 0, fmt.Errorf("key %s is not at revision %d", key, known)
	}
	return uint64(result.Header.Revision), nil
}

// Fill writes all keys in one transaction, of which etcd takes up to 128
// operations.
func (t *etcdTarget) Fill(ctx context.Context, pairs []pair) error {
	ops := make([]clientv3.Op, len(pairs))
	for i, p := range pairs {
		ops[i] = clientv3.OpPut(p.key, string(p.value))
	}
	_, err := t.client.Txn(ctx).Then(ops...).Commit()
	return err
}

func (t *etcdTarget) Close() error { return t.client.Close() }
