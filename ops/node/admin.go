package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/flotillakv/flotilla/gateway"
	"github.com/flotillakv/flotilla/ops/datadir"
	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/shards"
	"github.com/flotillakv/flotilla/shards/fault"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// bootstrapOperator is the owner that a new cluster has.
const bootstrapOperator = "bootstrap"

// operatorFile is where the first node keeps the credential of bootstrapOperator,
// for its owner's eyes only.
const operatorFile = "operator.token"

// startAdmin lets operators in.
func (n *Node) startAdmin(ctx context.Context) (func() error, error) {
	stop := nothing
	switch ensure := func(ctx context.Context) error {
		return again(ctx, n.cfg.Log, "making the first operator", n.ensureOperator)
	}; {
	case n.bootstraps || n.alone(): // it reaches the catalog by itself
		if err := ensure(ctx); err != nil {
			return nil, err
		}
	case n.dir.HasReplica(shards.SystemShard, shards.FirstReplica):
		stop = n.background(ctx, func(ctx context.Context) error { // it may have been stopped before it could
			if err := ensure(ctx); ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	_, handler := gateway.AdminHandler(gateway.AdminConfig{
		Catalog: n.catalog, KV: n.kv, Guard: n.guard, Metrics: n.requests, Now: fault.Now, Log: n.cfg.Log,
	})
	n.admin.Store(&handler)
	return func() error {
		n.admin.Store(nil)
		return stop()
	}, nil
}

// serveAdmin serves operators' calls, once it is possible.
func (n *Node) serveAdmin(w http.ResponseWriter, r *http.Request) {
	if handler := n.admin.Load(); handler != nil {
		(*handler).ServeHTTP(w, r)
		return
	}
	http.Error(w, "the node is starting or stopping: try again", http.StatusServiceUnavailable)
}

// ensureOperator makes the first operator of a cluster that has none, with the
// credential in the file, which is written first: a start that is cut short between
// the two goes on with it.
func (n *Node) ensureOperator(ctx context.Context) error {
	list, err := n.catalog.ListOperators(ctx)
	if err != nil || len(list) > 0 {
		return err
	}
	key, err := n.operatorKey()
	if err != nil {
		return final(err)
	}
	hash := key.Hash()
	ctx = catalog.WithAct(ctx, catalog.Act{Actor: "node:" + n.cfg.Name, Procedure: "bootstrap"})
	_, err = n.catalog.CreateOperator(ctx, catalog.Operator{
		Name: bootstrapOperator, SecretHash: hash[:], Role: catalog.RoleOwner, Description: "made with the cluster",
	})
	if errors.As(err, new(*tenancy.AlreadyExistsError)) {
		return nil // by an attempt whose answer was lost
	}
	return err
}

// operatorKey reads the credential of the first operator, or makes it.
func (n *Node) operatorKey() (auth.OperatorKey, error) {
	text, err := os.ReadFile(n.OperatorFile())
	if err == nil {
		key, err := auth.ParseOperatorKey(strings.TrimSpace(string(text)))
		if err != nil {
			return key, fmt.Errorf("read %s: %w: remove the file to have another made", n.OperatorFile(), err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return auth.OperatorKey{}, fmt.Errorf("read the first operator's credential: %w", err)
	}
	key, secret, err := auth.GenerateOperatorKey(bootstrapOperator, rand.Reader)
	if err != nil {
		return key, err
	}
	if err := datadir.WriteSecret(n.OperatorFile(), []byte(secret+"\n")); err != nil {
		return key, fmt.Errorf("keep the first operator's credential: %w", err)
	}
	return key, nil
}

// OperatorFile is where the first node of a cluster keeps the credential of its
// first operator.
func (n *Node) OperatorFile() string { return filepath.Join(n.dir.Path(), operatorFile) }
