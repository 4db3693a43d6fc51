// Package catalog keeps what the platform knows of itself in its own key space:
// the system namespace on the system shard. Its records are typed here; nobody
// else spells their keys.
//
//	cluster                      ClusterRecord
//	shards/<shard>               ShardRecord
//	tenants/<tenant>             TenantRecord
//	namespaces/<tenant>/<name>   NamespaceRecord
//	keys/<id>                    APIKeyRecord
//	tenant-keys/<tenant>/<id>    empty: the keys of a tenant
//
// Names are of [a-z0-9-] and key ids of letters and digits, so the slashes
// separate.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/mvcc"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// systemEpoch is the ownership epoch of the system namespace, which never moves.
const systemEpoch = 1

// Host is what the catalog needs of the node's shards.
type Host interface {
	Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error)
	Read(ctx context.Context, shard shards.ShardID, c shards.Consistency, read func(*shards.View) error) error
	Watches(shard shards.ShardID) (*watch.Hub, error)
}

// Config is how the catalog is kept. Zero fields take the defaults.
type Config struct {
	// DataShards are the shards that namespaces are placed on.
	DataShards []shards.ShardID
	// RecordsCachedMax bounds the records kept in memory, of about 300 bytes
	// each. Default 65,536.
	RecordsCachedMax int
}

// A Catalog reads and changes the records. Look-ups that every request makes
// are answered from a bounded cache; Run keeps it true. Safe for concurrent
// use.
type Catalog struct {
	host  Host
	cfg   Config
	now   func() time.Time
	log   *slog.Logger
	cache *cache
	// placing is held while namespaces are placed, so that this node's own
	// placements do not conflict with each other.
	placing sync.Mutex
}

// New makes a catalog. now is the clock of creation times.
func New(host Host, cfg Config, now func() time.Time, log *slog.Logger) (*Catalog, error) {
	if cfg.RecordsCachedMax == 0 {
		cfg.RecordsCachedMax = 65_536
	}
	records, err := newCache(cfg.RecordsCachedMax)
	if err != nil {
		return nil, err
	}
	return &Catalog{host: host, cfg: cfg, now: now, log: log, cache: records}, nil
}

// record is a record's message and the revision at which it was written.
type record[M proto.Message] struct {
	message  M
	revision uint64 // 0 when it does not exist
}

func (r record[M]) exists() bool { return r.revision != 0 }

// read reads one record, current as of the call.
func read[M proto.Message](ctx context.Context, c *Catalog, key string, into M) (record[M], error) {
	r := record[M]{message: into}
	err := c.view(ctx, func(space mvcc.Reader, state *mvcc.State) error {
		response, err := mvcc.Get(space, state, &flotillav1.GetRequest{Key: []byte(key)})
		if err != nil || response.GetKv() == nil {
			return err
		}
		r.revision = response.GetKv().GetModRevision()
		return proto.Unmarshal(response.GetKv().GetValue(), into)
	})
	if err != nil {
		return r, fmt.Errorf("read %s from the catalog: %w", kindOf(key), err)
	}
	return r, nil
}

// list visits the records under a prefix, in the order of their keys, after
// the key prefix+after, and returns whether there are more.
func (c *Catalog) list(ctx context.Context, prefix, after string, limit uint64, visit func(name string, value []byte) error) (more bool, err error) {
	request := &flotillav1.RangeRequest{Keys: &flotillav1.KeyRange{Prefix: []byte(prefix)}, Limit: limit}
	if after != "" {
		request.Keys.Start = []byte(prefix + after + "\x00")
	}
	err = c.view(ctx, func(space mvcc.Reader, state *mvcc.State) error {
		response, err := mvcc.Range(space, state, request, mvcc.ReadLimits{})
		if err != nil {
			return err
		}
		more = response.GetMore()
		for _, kv := range response.GetKvs() {
			if err := visit(string(kv.GetKey()[len(prefix):]), kv.GetValue()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("list %s of the catalog: %w", kindOf(prefix), err)
	}
	return more, nil
}

func (c *Catalog) view(ctx context.Context, visit func(mvcc.Reader, *mvcc.State) error) error {
	return c.host.Read(ctx, shards.SystemShard, shards.Linearizable, func(v *shards.View) error {
		space, state, err := v.Namespace(tenancy.SystemNamespace)
		if err != nil {
			return err
		}
		return visit(space, &state)
	})
}

// errConflict says that a record changed between its reading and the commit.
var errConflict = errors.New("the catalog was changed by somebody else at the same time")

// change is one transaction on the catalog: it commits only if every record
// that it names is as it was read.
type change struct {
	request flotillav1.TxnRequest
	keys    []string
	err     error // the first record that could not be encoded
}

// expect makes the commit depend on a record's revision; 0 says that it must
// not exist.
func (t *change) expect(key string, revision uint64) {
	t.request.Compare = append(t.request.Compare, &flotillav1.Compare{
		Subject:  &flotillav1.Compare_Key{Key: []byte(key)},
		Relation: flotillav1.Compare_RELATION_EQUAL,
		Target:   &flotillav1.Compare_ModRevision{ModRevision: revision},
	})
}

// put writes a record; nil writes an empty one.
func (t *change) put(key string, message proto.Message) {
	var value []byte
	if message != nil {
		var err error
		if value, err = proto.Marshal(message); err != nil && t.err == nil {
			t.err = fmt.Errorf("encode a catalog record: %w", err)
		}
	}
	t.keys = append(t.keys, key)
	t.request.Success = append(t.request.Success, &flotillav1.TxnOperation{
		Operation: &flotillav1.TxnOperation_Put{Put: &flotillav1.PutRequest{Key: []byte(key), Value: value}},
	})
}

// replace writes a record if it is still as it was read.
func (t *change) replace(key string, revision uint64, message proto.Message) {
	t.expect(key, revision)
	t.put(key, message)
}

// remove deletes a record.
func (t *change) remove(key string) {
	t.keys = append(t.keys, key)
	t.request.Success = append(t.request.Success, &flotillav1.TxnOperation{
		Operation: &flotillav1.TxnOperation_Delete{Delete: &flotillav1.DeleteRequest{
			Target: &flotillav1.DeleteRequest_Key{Key: []byte(key)},
		}},
	})
}

// commit applies the transaction, or returns errConflict with nothing changed.
// This node's cache is true again when it returns.
func (c *Catalog) commit(ctx context.Context, t *change) error {
	if t.err != nil {
		return t.err
	}
	response, err := c.host.Propose(ctx, shards.SystemShard, tenancy.SystemTenant, &internalv1.Command{
		NamespaceId: uint64(tenancy.SystemNamespace), Epoch: systemEpoch,
		Operation: &internalv1.Command_Txn{Txn: &t.request},
	})
	c.cache.drop(t.keys)
	if err != nil {
		return fmt.Errorf("change the catalog: %w", err)
	}
	if txn, ok := response.(*flotillav1.TxnResponse); !ok || !txn.GetSucceeded() {
		return errConflict
	}
	return nil
}

// conflictsMax bounds how often a change is tried again after a conflict.
const conflictsMax = 16

// retryConflicts runs a read-and-commit until it meets no conflict.
func retryConflicts(attempt func() error) error {
	var err error
	for range conflictsMax {
		if err = attempt(); !errors.Is(err, errConflict) {
			return err
		}
	}
	return err
}
