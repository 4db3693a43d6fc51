package intercept

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

func TestGuard(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	g := NewGuard(func() time.Time { return now }, prometheus.NewRegistry())
	looks := 0
	try := func(address, id string, err error) error {
		_, err = guarded(g, address, id, func() (int, error) { looks++; return 0, err })
		return err
	}
	wrong := fmt.Errorf("%w: revoked", tenancy.ErrUnauthenticated)

	for range 20 {
		require.ErrorIs(t, try("192.0.2.1:4000", "key", wrong), tenancy.ErrUnauthenticated)
	}
	var refused *tenancy.QuotaError
	require.ErrorAs(t, try("192.0.2.1:4001", "key", nil), &refused, "a right one is refused too")
	require.Equal(t, "failed_logins_per_minute", refused.Limit)
	require.Equal(t, time.Second, refused.RetryAfter)
	require.Equal(t, 20, looks)
	require.NoError(t, try("192.0.2.1:4000", "other", nil), "others at the place are let in")
	require.NoError(t, try("192.0.2.2:4000", "key", nil), "the credential elsewhere too")

	now = now.Add(time.Second)
	require.NoError(t, try("192.0.2.1:4000", "key", nil))
	now = now.Add(time.Hour)
	for range 19 {
		require.Error(t, try("192.0.2.1:4000", "key", wrong))
	}
	require.NoError(t, try("192.0.2.1:4000", "key", nil))

	// Many credentials from one place, such as one customer's IPv6 addresses.
	for i := range 400 {
		require.ErrorIs(t, try(fmt.Sprintf("[2001:db8:0:1::%x]:80", i+1), fmt.Sprint(i), wrong), tenancy.ErrUnauthenticated)
	}
	require.ErrorAs(t, try("[2001:db8:0:1::ffff]:80", "new", nil), &refused)
	require.Equal(t, uint64(1200), refused.Value)
	require.NoError(t, try("[2001:db8:0:2::1]:80", "new", nil))

	count := func(outcome string) float64 {
		var metric dto.Metric
		require.NoError(t, g.failed.WithLabelValues(outcome).Write(&metric))
		return metric.GetCounter().GetValue()
	}
	before := count("wrong")
	require.ErrorIs(t, try("192.0.2.9:1", "", auth.ErrNoCredential), auth.ErrNoCredential)
	require.ErrorIs(t, try("a pipe", "key", wrong), wrong, "an address that is none is only counted")
	require.InDelta(t, before+1, count("wrong"), 0)
	require.InDelta(t, 2, count("refused"), 0)
}

// A client that goes on with a token that has ended keeps itself out, and nobody else
// at its address.
func TestGuardKnowsTokensApart(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	guard := NewGuard(func() time.Time { return now }, prometheus.NewRegistry())
	a := NewAuthenticator(AuthConfig{Guard: guard, Now: func() time.Time { return now }, ClusterID: "cluster"})
	login := func(token string) error {
		_, err := a.Credential(t.Context(), token, "192.0.2.1:4000")
		return err
	}
	var refused *tenancy.QuotaError
	for range 1000 {
		if errors.As(login("eyOld"), &refused) {
			break
		}
	}
	require.NotNil(t, refused)
	require.Equal(t, uint64(60), refused.Value)
	require.ErrorIs(t, login("eyOther"), tenancy.ErrUnauthenticated, "it is looked at")

	for i := range 1000 {
		if errors.As(login(fmt.Sprint("eyNew", i)), &refused) {
			require.Equal(t, 400-21, i, "all of the address together")
			break
		}
	}
	require.Equal(t, uint64(1200), refused.Value)
}
