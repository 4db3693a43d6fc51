package meter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flotillakv/flotilla/tenancy"
)

// paceMax is how long a paced answer waits before it looks again.
const paceMax = time.Second

// pace waits until the tenant owes no bytes.
func (t *Tenant) pace(ctx context.Context) error {
	for {
		err := t.Admit(0, 0)
		refused, ok := errors.AsType[*tenancy.QuotaError](err)
		if !ok {
			return err
		}
		timer := time.NewTimer(min(refused.RetryAfter, paceMax))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait for bytes: %w: %w", refused, context.Cause(ctx))
		}
	}
}
