package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
	flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

const (
	// tokenKeyLife is for how long a key signs tokens.
	tokenKeyLife = 7 * 24 * time.Hour
	// tokenKeyRest is for how long it is still known after that: longer than any
	// token lives.
	tokenKeyRest = 24 * time.Hour
)

// TokenKey is a key that signs tokens, or did. It is shared, and not to be changed.
type TokenKey struct {
	auth.TokenKey
	CreateTime time.Time
}

func tokenKeyOf(id string, r *internalv1.TokenKeyRecord) (*TokenKey, error) {
	key, err := auth.NewTokenKey(id, r.GetSeed())
	return &TokenKey{TokenKey: key, CreateTime: timeOf(r.GetCreateTimeMs())}, err
}

// TokenKey finds a key by its id, mostly without leaving memory. It returns
// tenancy.ErrUnauthenticated if there is none.
func (c *Catalog) TokenKey(ctx context.Context, id string) (*TokenKey, error) {
	key := tokenKeyKey(id)
	value, err := c.lookUp(ctx, key, func(ctx context.Context) (any, error) {
		r, err := read(ctx, c, key, &internalv1.TokenKeyRecord{})
		if err != nil || !r.exists() {
			return nil, err
		}
		return tokenKeyOf(id, r.message)
	})
	if err != nil {
		return nil, err
	}
	found, ok := value.(*TokenKey)
	if !ok {
		return nil, tenancy.ErrUnauthenticated
	}
	return found, nil
}

// TokenKeys lists the keys that sign tokens or did, the newest first.
func (c *Catalog) TokenKeys(ctx context.Context) ([]*TokenKey, error) {
	var list []*TokenKey
	_, err := c.list(ctx, span{prefix: tokenKeysPrefix}, func(id string, kv *flotillav1.KeyValue) error {
		r, err := decode("token key", kv.GetValue(), &internalv1.TokenKeyRecord{})
		if err != nil {
			return err
		}
		key, err := tokenKeyOf(id, r)
		list = append(list, key)
		return err
	})
	slices.SortStableFunc(list, func(a, b *TokenKey) int { return b.CreateTime.Compare(a.CreateTime) })
	return list, err
}

// SigningKey is the key that signs tokens now. It makes one if the newest is a week
// old, and drops those whose tokens have all ended: whoever gives out a token sees to
// the keys, so they need nobody else.
func (c *Catalog) SigningKey(ctx context.Context) (*TokenKey, error) {
	var signing *TokenKey
	err := retryConflicts(ctx, func() error {
		list, err := c.TokenKeys(ctx)
		if err != nil {
			return err
		}
		if len(list) > 0 && c.now().Sub(list[0].CreateTime) < tokenKeyLife {
			signing = list[0]
			return nil
		}
		signing, err = c.renewTokenKey(ctx, list)
		return err
	})
	if errors.Is(err, ErrConflict) && signing != nil {
		return signing, nil
	}
	return signing, err
}

func (c *Catalog) renewTokenKey(ctx context.Context, list []*TokenKey) (*TokenKey, error) {
	id, seed, err := auth.GenerateTokenKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	record := &internalv1.TokenKeyRecord{Seed: seed, CreateTimeMs: uint64(c.now().UnixMilli())}
	var t change
	t.replace(tokenKeyKey(id), 0, record)
	for _, old := range list {
		if c.now().Sub(old.CreateTime) > tokenKeyLife+tokenKeyRest {
			t.remove(tokenKeyKey(old.ID))
		}
	}
	c.audit(ctx, &t, "", id, "key of tokens made")
	if err := c.commit(ctx, &t); err != nil {
		return nil, err
	}
	return tokenKeyOf(id, record)
}
