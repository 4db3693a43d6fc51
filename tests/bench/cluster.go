package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	flotilla "github.com/flotillakv/flotilla/sdk/go"
)

// newFlotillaCluster describes a cluster of `flotilla serve` with its default
// settings, all but the addresses.
func newFlotillaCluster(o *options, path, dir string) (*side, error) {
	const perNode = 5
	addresses, err := freeAddresses(perNode * o.nodes)
	if err != nil {
		return nil, err
	}
	var members []*server
	var apis, etcds, operators []string
	for i := range o.nodes {
		own := filepath.Join(dir, strconv.Itoa(i))
		a := addresses[perNode*i:]
		args := []string{
			"serve", "--node-name", fmt.Sprintf("n%d", i), "--data-dir", filepath.Join(own, "data"), "--log-level", "warn",
			"--listen-api", a[0], "--listen-etcd", a[1], "--listen-ops", a[2], "--listen-peer", a[3], "--listen-raft", a[4],
		}
		if i == 0 {
			args = append(args, "--bootstrap", "--tenant", "bench")
		} else {
			args = append(args, "--join", addresses[3])
		}
		members = append(members, &server{name: "flotilla", dir: own, path: path, args: args, env: serverEnv(o)})
		apis, etcds, operators = append(apis, "http://"+a[0]), append(etcds, a[1]), append(operators, "http://"+a[2])
	}
	s := members[0]
	s.others = members[1:]
	info := func() (devInfo, error) {
		var info devInfo
		data, err := os.ReadFile(filepath.Join(s.dir, "data", "tenant-bench.json"))
		if err != nil {
			return info, err
		}
		return info, json.Unmarshal(data, &info)
	}
	s.probe = func(ctx context.Context) error {
		if err := probeFlotilla(ctx, info); err != nil {
			return err
		}
		return probeReplicated(ctx, operators[0], o.nodes)
	}
	var opened atomic.Int64
	return &side{
		name: s.name, server: s, etcdAddress: etcds[0],
		connect: func() (target, error) {
			info, err := info()
			if err != nil {
				return nil, err
			}
			if o.api == apiEtcd {
				id, _, _ := strings.Cut(strings.TrimPrefix(info.APIKey, "flk_"), "_")
				return connectEtcdAs(id, info.APIKey, etcds...)
			}
			// Each client begins at the next node.
			first := int(opened.Add(1)-1) % len(apis)
			urls := append(append([]string(nil), apis[first:]...), apis[:first]...)
			client, err := flotilla.New(flotilla.Config{URLs: urls, APIKey: info.APIKey})
			if err != nil {
				return nil, err
			}
			return &flotillaTarget{client: client, kv: client.Namespace(info.Namespace).KV}, nil
		},
		profileURL: func() (string, error) { return leaderProfileURL(operators) },
	}, nil
}

// probeReplicated succeeds once every shard has so many voters.
func probeReplicated(ctx context.Context, ops string, voters int) error {
	return fetch(ctx, ops+"/status", func(response *http.Response) error {
		var status struct {
			Placements []struct {
				Shard    uint64 `json:"shard"`
				Replicas []struct {
					State string `json:"state"`
				} `json:"replicas"`
			} `json:"placements"`
		}
		if err := json.NewDecoder(response.Body).Decode(&status); err != nil {
			return err
		}
		for _, placed := range status.Placements {
			have := 0
			for _, r := range placed.Replicas {
				if r.State == "voter" {
					have++
				}
			}
			if have != voters {
				return fmt.Errorf("shard %d has %d of %d voters", placed.Shard, have, voters)
			}
		}
		return nil
	})
}

// loadedShard is the shard of the tenant's namespace: the first data shard.
const loadedShard = 2

// leaderProfileURL is where the node that leads the loaded shard profiles itself.
func leaderProfileURL(operators []string) (string, error) {
	for _, ops := range operators {
		var status struct {
			NodeID string `json:"node_id"`
			Shards []struct {
				Shard      uint64 `json:"shard"`
				LeaderNode string `json:"leader_node"`
			} `json:"shards"`
		}
		err := fetch(context.Background(), ops+"/status", func(response *http.Response) error {
			return json.NewDecoder(response.Body).Decode(&status)
		})
		if err != nil {
			return "", err
		}
		for _, s := range status.Shards {
			if s.Shard == loadedShard && s.LeaderNode == status.NodeID {
				return ops + "/debug/pprof/profile", nil
			}
		}
	}
	return "", errors.New("no node leads the shard that is loaded")
}
