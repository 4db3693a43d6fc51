package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/flotillakv/flotilla/tenancy"
)

// An API key is flk_<id>_<secret>. Both parts are base32 in lower case: one
// word to a terminal's double click, and safe in a shell, a URL and a header.
//
//	flk_ mfrggzdfmztwq2lk _ 4r7c...  (without the spaces)
//	     16 characters      52 characters
//	     80 random bits     256 random bits
const (
	keyScheme   = "flk_"
	idBytes     = 10
	idChars     = 16
	secretBytes = 32
	secretChars = 52
	keyChars    = len(keyScheme) + idChars + len("_") + secretChars
)

const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

//nolint:gochecknoglobals // a constant in all but its type
var keyEncoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// HashBytes is the length of the hash of a secret.
const HashBytes = sha256.Size

// ErrMalformed says that a text is no API key. It wraps
// tenancy.ErrUnauthenticated.
var ErrMalformed = fmt.Errorf("%w: not of the form flk_<id>_<secret>", tenancy.ErrUnauthenticated)

// APIKey is an API key as the platform holds it: its id and the hash of its
// secret. The secret itself is nowhere in it, so no log can show it. The zero
// APIKey matches nothing.
type APIKey struct {
	id   string
	hash [HashBytes]byte
}

// GenerateAPIKey makes an API key from 42 bytes of random, which must be a
// cryptographically secure source such as rand.Reader of crypto/rand. The text
// is the whole key with its secret: it is told to the key's maker, once, and
// kept nowhere.
func GenerateAPIKey(random io.Reader) (key APIKey, text string, err error) {
	var bits [idBytes + secretBytes]byte
	if _, err := io.ReadFull(random, bits[:]); err != nil {
		return APIKey{}, "", fmt.Errorf("read randomness for an API key: %w", err)
	}
	id, secret := keyEncoding.EncodeToString(bits[:idBytes]), bits[idBytes:]
	key = APIKey{id: id, hash: sha256.Sum256(secret)}
	return key, keyScheme + id + "_" + keyEncoding.EncodeToString(secret), nil
}

// ParseAPIKey reads an API key. Each key has exactly one spelling; anything
// else is ErrMalformed.
func ParseAPIKey(text string) (APIKey, error) {
	rest, ok := strings.CutPrefix(text, keyScheme)
	if !ok || len(text) != keyChars || rest[idChars] != '_' {
		return APIKey{}, ErrMalformed
	}
	id, secret := rest[:idChars], rest[idChars+1:]
	if !ValidID(id) {
		return APIKey{}, ErrMalformed
	}
	hash, ok := hashSecret(secret)
	if !ok {
		return APIKey{}, ErrMalformed
	}
	return APIKey{id: id, hash: hash}, nil
}

// hashSecret is the hash of a secret's bits; ok is false if the text is none.
func hashSecret(text string) (hash [HashBytes]byte, ok bool) {
	if len(text) != secretChars {
		return hash, false
	}
	decoded, err := keyEncoding.DecodeString(text)
	// 52 characters hold 260 bits: the last 4 must be 0, and the decoder
	// passes over line breaks, so only a key that encodes to the same text is
	// one.
	if err != nil || len(decoded) != secretBytes || keyEncoding.EncodeToString(decoded) != text {
		return hash, false
	}
	return sha256.Sum256(decoded), true
}

// ValidID says whether a text can be the id of an API key.
func ValidID(id string) bool {
	if len(id) != idChars {
		return false
	}
	for i := range len(id) {
		if !strings.ContainsRune(alphabet, rune(id[i])) {
			return false
		}
	}
	return true
}

// ID returns the public part, which finds the key's record.
func (k APIKey) ID() string { return k.id }

// Hash returns what is stored of the secret: its SHA-256. The secret is 256
// random bits, so a slow hash would only make requests slow.
func (k APIKey) Hash() [HashBytes]byte { return k.hash }

// Matches says whether the stored hash is that of this key's secret, in a time
// that does not depend on how much of it agrees.
func (k APIKey) Matches(stored []byte) bool {
	return k.id != "" && subtle.ConstantTimeCompare(k.hash[:], stored) == 1
}

// String names the key, as in flk_<id>_[redacted].
func (k APIKey) String() string { return keyScheme + k.id + "_[redacted]" }

// LogValue is the same as String.
func (k APIKey) LogValue() slog.Value { return slog.StringValue(k.String()) }
