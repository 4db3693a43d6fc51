package auth_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tenancy"
	"github.com/flotillakv/flotilla/tenancy/auth"
)

// fixedKey is the key whose id and secret are the bytes 0, 1, 2, ...
const fixedKey = "flk_aaaqeayeaudaocaj_bifqydiob4ibceqtcqkrmfyydenbwha5dypsaijcemsckjrhfauq"

var keyForm = regexp.MustCompile(`^flk_[a-z2-7]{16}_[a-z2-7]{51}[aq]$`)

func fixed(tb testing.TB) (key auth.APIKey, text string) {
	tb.Helper()
	random := make([]byte, 42)
	for i := range random {
		random[i] = byte(i)
	}
	key, text, err := auth.GenerateAPIKey(bytes.NewReader(random))
	require.NoError(tb, err)
	return key, text
}

func TestAPIKeyRoundTrip(t *testing.T) {
	t.Parallel()
	for range 100 {
		key, text, err := auth.GenerateAPIKey(rand.Reader)
		require.NoError(t, err)
		require.Regexp(t, keyForm, text)
		parsed, err := auth.ParseAPIKey(text)
		require.NoError(t, err)
		require.Equal(t, key, parsed)
		require.True(t, auth.ValidID(key.ID()))
	}
}

// TestAPIKeyFormat holds the form of keys that people have in their files.
func TestAPIKeyFormat(t *testing.T) {
	t.Parallel()
	key, text := fixed(t)
	require.Equal(t, fixedKey, text)
	require.Equal(t, "aaaqeayeaudaocaj", key.ID())
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = byte(10 + i)
	}
	require.Equal(t, sha256.Sum256(secret), key.Hash())
}

func TestGenerateAPIKeyNeedsAllItsRandomness(t *testing.T) {
	t.Parallel()
	for have := range 42 {
		_, _, err := auth.GenerateAPIKey(bytes.NewReader(make([]byte, have)))
		require.Error(t, err, "%d bytes", have)
	}
}

func TestAPIKeyMatches(t *testing.T) {
	t.Parallel()
	key, _ := fixed(t)
	hash := key.Hash()
	require.True(t, key.Matches(hash[:]))
	require.False(t, key.Matches(nil))
	require.False(t, key.Matches(hash[:31]))
	for i := range hash {
		hash[i] ^= 1
		require.False(t, key.Matches(hash[:]), "byte %d", i)
		hash[i] ^= 1
	}
	zero := auth.APIKey{}.Hash()
	require.False(t, auth.APIKey{}.Matches(zero[:]))
}

func TestParseAPIKeyRefuses(t *testing.T) {
	t.Parallel()
	replace := func(at int, with string) string { return fixedKey[:at] + with + fixedKey[at+len(with):] }
	tests := map[string]string{
		"empty":                 "",
		"scheme alone":          "flk_",
		"other scheme":          "glk" + fixedKey[3:],
		"upper case":            strings.ToUpper(fixedKey),
		"upper case id":         replace(4, "A"),
		"upper case secret":     replace(30, "A"),
		"digit not in base":     replace(30, "1"),
		"no second mark":        replace(20, "a"),
		"mark too early":        replace(19, "_"),
		"too short":             fixedKey[:len(fixedKey)-1],
		"too long":              fixedKey + "a",
		"space before":          " " + fixedKey,
		"line break behind":     fixedKey[:len(fixedKey)-1] + "\n",
		"line break inside":     replace(30, "\n"),
		"not the only spelling": replace(len(fixedKey)-1, "d"),
		"not ASCII":             replace(30, "ä"),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, err := auth.ParseAPIKey(text)
			require.ErrorIs(t, err, auth.ErrMalformed)
			require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
			require.Zero(t, key)
		})
	}
}

func TestAPIKeyPrintsWithoutItsSecret(t *testing.T) {
	t.Parallel()
	key, text := fixed(t)
	const redacted = "flk_aaaqeayeaudaocaj_[redacted]"
	require.Equal(t, redacted, fmt.Sprint(key))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("made", "key", key)
	require.Contains(t, log.String(), redacted)
	_, secret, _ := strings.Cut(strings.TrimPrefix(text, "flk_"), "_")
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", key, key, key, key), secret)
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"Bearer " + fixedKey, "bearer " + fixedKey, "BEARER " + fixedKey} {
		credential, err := auth.Bearer(header)
		require.NoError(t, err, header)
		require.Equal(t, fixedKey, credential)
	}
	_, err := auth.Bearer("")
	require.ErrorIs(t, err, auth.ErrNoCredential)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	for _, header := range []string{fixedKey, "Bearer", "Bearer ", "Bearer  " + fixedKey, "Basic " + fixedKey, "Bearer " + fixedKey + " "} {
		credential, err := auth.Bearer(header)
		if err == nil {
			_, err = auth.ParseAPIKey(credential)
		}
		require.ErrorIs(t, err, auth.ErrMalformed, header)
	}
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add(fixedKey)
	f.Add("")
	f.Add("flk_")
	f.Add(strings.ToUpper(fixedKey))
	f.Add(fixedKey[:21] + strings.Repeat("\n", 52))
	f.Fuzz(func(t *testing.T, text string) {
		key, err := auth.ParseAPIKey(text)
		require.Equal(t, keyForm.MatchString(text), err == nil)
		if err != nil {
			require.ErrorIs(t, err, auth.ErrMalformed)
			return
		}
		require.True(t, auth.ValidID(key.ID()))
	})
}

func BenchmarkAPIKey(b *testing.B) {
	made, _ := fixed(b)
	hash := made.Hash()
	for b.Loop() {
		key, err := auth.ParseAPIKey(fixedKey)
		if err != nil || !key.Matches(hash[:]) {
			b.Fatal("the key is refused")
		}
	}
}
