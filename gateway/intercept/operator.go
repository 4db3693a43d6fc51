package intercept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	"github.com/flotillakv/flotilla/placement/catalog"
	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// Operators finds the credentials of operators; it is the catalog.
type Operators interface {
	Operator(ctx context.Context, name string) (*catalog.Operator, error)
}

// OperatorConfig is what the layers around operators' calls need.
type OperatorConfig struct {
	Operators Operators
	// Role is the least role that a procedure takes; none for those that do not
	// exist.
	Role func(procedure string) catalog.Role
	// Guard slows those down who try credentials.
	Guard   *Guard
	Metrics *Metrics
	Log     *slog.Logger
	Now     func() time.Time
}

// operatorTimeout is the deadline of an operator's call that brings none.
const operatorTimeout = 30 * time.Second

// OperatorChain is the layers around operators' calls, in their order.
func OperatorChain(cfg OperatorConfig) connect.Option {
	return connect.WithInterceptors(
		observe(cfg.Metrics, cfg.Log),
		errorTable(cfg.Log),
		recovering(),
		deadline(operatorTimeout, TimeoutMax),
		operate(cfg),
	)
}

// operate lets only operators through whose role suffices.
func operate(cfg OperatorConfig) layer {
	return func(ctx context.Context, c call, next func(context.Context) error) error {
		key, malformed := auth.ParseOperatorBearer(c.header.Get("Authorization"))
		operator, err := guarded(cfg.Guard, c.peer, key.Name(), func() (*catalog.Operator, error) {
			if malformed != nil {
				return nil, malformed
			}
			return operatorOf(ctx, cfg, key)
		})
		if errors.Is(err, tenancy.ErrUnauthenticated) {
			return fmt.Errorf("%w: %w", catalog.ErrNoOperator, err)
		}
		if err != nil {
			return err
		}
		if least := cfg.Role(c.procedure); least == 0 || operator.Role < least {
			return &catalog.RoleError{Least: least}
		}
		return next(withAct(ctx, c, "operator:"+operator.Name))
	}
}

// operatorOf finds the operator that a credential stands for. Its error is
// tenancy.ErrUnauthenticated if there is none, and tells nothing more.
func operatorOf(ctx context.Context, cfg OperatorConfig, key auth.OperatorKey) (*catalog.Operator, error) {
	record, err := cfg.Operators.Operator(ctx, key.Name())
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		key.Matches(make([]byte, auth.HashBytes)) // takes as long as for one that exists
		return nil, tenancy.ErrUnauthenticated
	}
	if err != nil {
		return nil, err
	}
	if !key.Matches(record.SecretHash) || !record.Expire.IsZero() && !cfg.Now().Before(record.Expire) {
		return nil, tenancy.ErrUnauthenticated
	}
	return record, nil
}
