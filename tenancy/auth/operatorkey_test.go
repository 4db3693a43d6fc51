package auth_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

func TestOperatorKey(t *testing.T) {
	t.Parallel()
	made, text, err := auth.GenerateOperatorKey("eve-2", rand.Reader)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(text, "flo_eve-2_"))
	key, err := auth.ParseOperatorBearer("Bearer " + text)
	require.NoError(t, err)
	require.Equal(t, made, key)
	require.Equal(t, "eve-2", key.Name())
	hash := made.Hash()
	require.True(t, key.Matches(hash[:]))
	hash[0]++
	require.False(t, key.Matches(hash[:]))
	require.False(t, auth.OperatorKey{}.Matches(make([]byte, auth.HashBytes)))
	secret := text[len("flo_eve-2_"):]
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", key, key, key, key), secret)

	for name, bad := range map[string]string{
		"empty": "", "scheme": "flk" + text[3:], "no name": "flo__" + secret, "upper": "flo_EVE_" + secret,
		"short": text[:len(text)-1], "long": text + "a", "no secret": "flo_eve", "name too long": "flo_" + strings.Repeat("a", 64) + "_" + secret,
		"line break": text[:20] + "\n" + text[21:],
	} {
		_, err := auth.ParseOperatorKey(bad)
		require.ErrorIs(t, err, auth.ErrMalformed, name)
		require.ErrorIs(t, err, tenancy.ErrUnauthenticated, name)
	}
	_, err = auth.ParseOperatorBearer("")
	require.ErrorIs(t, err, auth.ErrNoCredential)
}

func FuzzParseOperatorKey(f *testing.F) {
	_, text, err := auth.GenerateOperatorKey("eve", rand.Reader)
	require.NoError(f, err)
	f.Add(text)
	f.Add("flo_")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := auth.ParseOperatorKey(text)
		if err != nil {
			require.ErrorIs(t, err, auth.ErrMalformed)
			return
		}
		require.NoError(t, tenancy.ValidateName("operator", key.Name()))
	})
}
