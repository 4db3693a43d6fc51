package catalog

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
)

// KeyUsesMax bounds the keys of one NoteKeyUses.
const KeyUsesMax = 500

func keyUseKey(id string) []byte { return []byte("key-uses/" + id) }

// NoteKeyUses notes that API keys were used at a moment; up to KeyUsesMax.
func (c *Catalog) NoteKeyUses(ctx context.Context, ids []string, at time.Time) error {
	value, err := proto.Marshal(&internalv1.KeyUseRecord{TimeMs: uint64(at.UnixMilli())})
	if err != nil {
		return fmt.Errorf("encode the use of an API key: %w", err)
	}
	txn := &flotillav1.TxnRequest{}
	for _, id := range ids {
		txn.Success = append(txn.Success, &flotillav1.TxnOperation{Operation: &flotillav1.TxnOperation_Put{
			Put: &flotillav1.PutRequest{Key: keyUseKey(id), Value: value},
		}})
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
