package intercept

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseUser(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a", 16)
	for name, want := range map[string]User{
		id:               {Namespace: "default", KeyID: id},
		"acme/app":       {Tenant: "acme", Namespace: "app"},
		"acme/app/" + id: {Tenant: "acme", Namespace: "app", KeyID: id},
	} {
		got, err := ParseUser(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, name := range []string{"", "a", "/", "a/", "acme//" + id, "acme/app/", "acme/app/x", "a/b/c/d", "acme/App"} {
		_, err := ParseUser(name)
		require.Error(t, err, name)
	}
}
