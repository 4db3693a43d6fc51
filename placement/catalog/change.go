package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	chance "math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/tenancy"
)

// ErrConflict says that a record changed between its reading and the commit of
// a change, and that nothing was changed.
var ErrConflict = errors.New("the catalog was changed by somebody else at the same time")

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
	t.write(&flotillav1.PutRequest{Key: []byte(key), Value: value})
}

func (t *change) write(request *flotillav1.PutRequest) {
	t.keys = append(t.keys, string(request.GetKey()))
	t.request.Success = append(t.request.Success, &flotillav1.TxnOperation{
		Operation: &flotillav1.TxnOperation_Put{Put: request},
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

// commit applies the transaction, or returns ErrConflict with nothing changed.
// This node's cache is true again when it returns.
func (c *Catalog) commit(ctx context.Context, t *change) error {
	if t.err != nil {
		return t.err
	}
	// With it the host may send the transaction again when it does not learn
	// what became of it: it takes effect once.
	t.request.RequestId = rand.Text()
	response, err := c.propose(ctx, &internalv1.Command{Operation: &internalv1.Command_Txn{Txn: &t.request}})
	c.cache.drop(t.keys)
	if err != nil {
		return err
	}
	if txn, ok := response.(*flotillav1.TxnResponse); !ok || !txn.GetSucceeded() {
		return ErrConflict
	}
	return nil
}

// propose applies a command to the system namespace.
func (c *Catalog) propose(ctx context.Context, command *internalv1.Command) (proto.Message, error) {
	return c.proposeIn(ctx, tenancy.SystemNamespace, command)
}

// proposeIn applies a command to a namespace of the platform.
func (c *Catalog) proposeIn(ctx context.Context, ns tenancy.NamespaceID, command *internalv1.Command) (proto.Message, error) {
	command.NamespaceId, command.Epoch = uint64(ns), systemEpoch
	response, err := c.host.Propose(ctx, shards.SystemShard, tenancy.SystemTenant, command)
	if err != nil {
		return nil, fmt.Errorf("change the catalog: %w", err)
	}
	return response, nil
}

// How often a change is tried again after a conflict, and what lies between two
// attempts at most: the more there were, the more others seem to try.
const (
	conflictsMax     = 16
	conflictPauseMax = 100 * time.Millisecond
)

// retryConflicts runs a read-and-commit until it meets no conflict.
func retryConflicts(ctx context.Context, attempt func() error) error {
	var err error
	for n := range conflictsMax {
		if err = attempt(); !errors.Is(err, ErrConflict) {
			return err
		}
		pause(ctx, chance.N(min(time.Millisecond<<n, conflictPauseMax))) //nolint:gosec // chance, not secrecy
		if ctx.Err() != nil {
			break
		}
	}
	return err
}
