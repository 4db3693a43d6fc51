// Package catalog keeps what the platform knows of itself in its own key space:
// the system namespace on the system shard. Its records are typed here; nobody
// else spells their keys.
//
//	cluster                      ClusterRecord
//	nodes/<node>                 NodeRecord
//	live/<node>                  the node's boot id, kept by a lease of the node
//	placements/<shard>           PlacementRecord
//	shards/<shard>               ShardRecord
//	tenants/<tenant>             TenantRecord
//	namespaces/<tenant>/<name>   NamespaceRecord
//	keys/<id>                    APIKeyRecord
//	tenant-keys/<tenant>/<id>    empty: the keys of a tenant
//
// Names are of [a-z0-9-], key ids of letters and digits, and node ids are UUIDs,
// so the slashes separate.
//
// Every record is changed by compare-and-set on what was read. A node follows the
// records by one watch, which keeps two memories true: the cache of those that
// requests need, and the Directory of nodes and placements.
package catalog

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/watch"
	"github.com/flotillakv/flotilla/tenancy"
)

// systemEpoch is the ownership epoch of the system namespace, which never moves.
const systemEpoch = 1

// Host reaches the shards, wherever their replicas are.
type Host interface {
	// Propose applies a command and returns its answer.
	Propose(ctx context.Context, shard shards.ShardID, tenant tenancy.TenantID, command *internalv1.Command) (proto.Message, error)
	// Query answers a read: a GetRequest by a GetResponse, a RangeRequest by a
	// RangeResponse.
	Query(ctx context.Context, shard shards.ShardID, ns tenancy.NamespaceID, c shards.Consistency, request proto.Message) (proto.Message, error)
	// Watch yields the answers of one watch until it ends, and then why.
	Watch(ctx context.Context, shard shards.ShardID, owner watch.Owner, spec watch.Spec) iter.Seq2[watch.Answer, error]
}

// Config is how the catalog is kept. Zero fields take the defaults.
type Config struct {
	// RecordsCachedMax bounds the records kept in memory, of about 300 bytes
	// each. Default 65,536.
	RecordsCachedMax int
	// FreshFor is for how long the records in memory are used after they were
	// last known to be all that there is, while the system shard can be reached: longer
	// than its leader's change takes, which is to make nobody wait. Default 5 s.
	FreshFor time.Duration
}

func (c Config) withDefaults() Config {
	c.RecordsCachedMax = cmp.Or(c.RecordsCachedMax, 65_536)
	c.FreshFor = cmp.Or(c.FreshFor, 5*time.Second)
	return c
}

// A Catalog reads and changes the records. Look-ups that every request makes
// are answered from a bounded cache; Run keeps it true. Safe for concurrent
// use.
type Catalog struct {
	host      Host
	directory *Directory
	now       func() time.Time
	log       *slog.Logger
	cache     *cache
	trust     trust

	// watching guards stop, which ends the present watch.
	watching sync.Mutex
	stop     context.CancelCauseFunc

	// placing is held while namespaces are placed, so that this node's own
	// placements do not conflict with each other.
	placing sync.Mutex
}

// New makes a catalog. Run keeps the directory true as well; the host may need
// it to find the system shard. now is the clock of times that are written, and
// of how long ago something was known.
func New(host Host, directory *Directory, cfg Config, now func() time.Time, log *slog.Logger) (*Catalog, error) {
	cfg = cfg.withDefaults()
	records, err := newCache(cfg.RecordsCachedMax)
	if err != nil {
		return nil, err
	}
	c := &Catalog{host: host, directory: directory, now: now, log: log, cache: records}
	c.trust.begin(cfg.FreshFor, now)
	c.stop = func(error) {}
	return c, nil
}
