package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// KeyUsesMax bounds the keys of one NoteKeyUses.
const KeyUsesMax = 500

func keyUseKey(id string) []byte { return []byte("key-uses/" + id) }

// The use of a key is in the ledger, which no node watches, and the key itself in the
// system namespace, so no one transaction changes both. The transaction that takes the
// key away says that its use is to be forgotten, and ForgetKeyUses does that once no
// note of it can be under way any more.

// keyUseNoteMax is longer than a note of a key's use can be under way: it is written
// within seconds after the key was looked up, in memory that is seconds old at most.
const keyUseNoteMax = time.Minute

// usesForgottenMax bounds the keys of one ForgetKeyUses.
const usesForgottenMax = 100

// removeAPIKey adds to a change that a tenant's key goes, and what tells of its use.
func (c *Catalog) removeAPIKey(t *change, tenant tenancy.TenantID, id string) {
	t.remove(apiKeyKey(id))
	t.remove(tenantAPIKeyKey(tenant, id))
	t.put(endedKeyKey(c.now(), id), nil)
}

// ForgetKeyUses removes when keys were used that are gone, of some of them. It tells
// whether there may be more. Done twice it removes the same.
func (c *Catalog) ForgetKeyUses(ctx context.Context) (more bool, err error) {
	var ended change // in the system namespace
	uses := &flotillav1.TxnRequest{}
	due := span{prefix: endedKeysPrefix, before: fmt.Sprintf("%016x", c.now().Add(-keyUseNoteMax).UnixMilli()), limit: usesForgottenMax}
	more, err = c.list(ctx, due, func(name string, _ *flotillav1.KeyValue) error {
		_, id, _ := strings.Cut(name, "-")
		uses.Success = append(uses.Success, &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Delete{
			Delete: &flotillav1.DeleteRequest{Target: &flotillav1.DeleteRequest_Key{Key: keyUseKey(id)}},
		}})
		ended.remove(endedKeysPrefix + name)
		return nil
	})
	if err != nil || len(uses.GetSuccess()) == 0 {
		return false, err
	}
	if _, err = c.proposeIn(ctx, tenancy.LedgerNamespace, &internalv1.Command{Operation: &internalv1.Command_Txn{Txn: uses}}); err != nil {
		return false, fmt.Errorf("forget uses of API keys: %w", err)
	}
	return more, c.commit(ctx, &ended)
}

// NoteKeyUses notes that API keys were used at a moment; up to KeyUsesMax. Those that
// are gone meanwhile are left out.
func (c *Catalog) NoteKeyUses(ctx context.Context, ids []string, at time.Time) error {
	value, err := proto.Marshal(&internalv1.KeyUseRecord{TimeMs: uint64(at.UnixMilli())})
	if err != nil {
		return fmt.Errorf("encode the use of an API key: %w", err)
	}
	txn := &flotillav1.TxnRequest{}
	for _, id := range ids {
		if _, err := c.APIKey(ctx, id); errors.Is(err, tenancy.ErrUnauthenticated) {
			continue
		} else if err != nil {
			return err
		}
		txn.Success = append(txn.Success, &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Put{
			Put: &flotillav1.PutRequest{Key: keyUseKey(id), Value: value},
		}})
	}
	if len(txn.GetSuccess()) == 0 {
		return nil
	}
	_, err = c.proposeIn(ctx, tenancy.LedgerNamespace, &internalv1.Command{Operation: &internalv1.Command_Txn{Txn: txn}})
	return err
}

// KeyUses tells when API keys were used last, give or take some minutes, in their
// order; zero for those that never were.
func (c *Catalog) KeyUses(ctx context.Context, ids []string) ([]time.Time, error) {
	const readsMax = 100
	var times []time.Time
	for len(ids) > 0 {
		part := ids[:min(len(ids), readsMax)]
		ids = ids[len(part):]
		txn := &flotillav1.TxnRequest{}
		for _, id := range part {
			txn.Success = append(txn.Success, &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Get{
				Get: &flotillav1.GetRequest{Key: keyUseKey(id)},
			}})
		}
		response, err := queryIn[*flotillav1.TxnResponse](ctx, c, tenancy.LedgerNamespace, txn)
		if err != nil {
			return nil, fmt.Errorf("read when API keys were used: %w", err)
		}
		for _, result := range response.GetResponses() {
			r, err := decode("use of an API key", result.GetGet().GetKv().GetValue(), &internalv1.KeyUseRecord{})
			if err != nil {
				return nil, err
			}
			times = append(times, timeOf(r.GetTimeMs()))
		}
	}
	return times, nil
}
