package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/flotillakv/flotilla/tenancy"
)

// operatorScheme begins the credential of an operator: flo_<name>_<secret>. The name
// is [a-z0-9-], so the first line under it ends it; the secret is as that of an API
// key.
const operatorScheme = "flo_"

// OperatorKey is the credential of an operator as the platform holds it: its name
// and the hash of its secret. The zero OperatorKey matches nothing.
type OperatorKey struct {
	name string
	hash [HashBytes]byte
}

// GenerateOperatorKey makes the credential of an operator of this name from 32 bytes
// of random: see GenerateAPIKey.
func GenerateOperatorKey(name string, random io.Reader) (key OperatorKey, text string, err error) {
	var secret [secretBytes]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return OperatorKey{}, "", fmt.Errorf("read randomness for an operator's credential: %w", err)
	}
	key = OperatorKey{name: name, hash: sha256.Sum256(secret[:])}
	return key, operatorScheme + name + "_" + keyEncoding.EncodeToString(secret[:]), nil
}

// ParseOperatorKey reads the credential of an operator. Each has exactly one
// spelling; anything else is ErrMalformed.
func ParseOperatorKey(text string) (OperatorKey, error) {
	rest, ok := strings.CutPrefix(text, operatorScheme)
	name, secret, separated := strings.Cut(rest, "_")
	if !ok || !separated || tenancy.ValidateName("operator", name) != nil {
		return OperatorKey{}, ErrMalformed
	}
	hash, ok := hashSecret(secret)
	if !ok {
		return OperatorKey{}, ErrMalformed
	}
	return OperatorKey{name: name, hash: hash}, nil
}

// ParseOperatorBearer reads the credential of an operator from the value of an
// Authorization header: see Bearer.
func ParseOperatorBearer(header string) (OperatorKey, error) {
	credential, err := Bearer(header)
	if err != nil {
		return OperatorKey{}, err
	}
	return ParseOperatorKey(credential)
}

// Name is the operator's name, which finds the record.
func (k OperatorKey) Name() string { return k.name }

// Hash returns what is stored of the secret: its SHA-256.
func (k OperatorKey) Hash() [HashBytes]byte { return k.hash }

// Matches says whether the stored hash is that of this credential's secret, in a
// time that does not depend on how much of it agrees.
func (k OperatorKey) Matches(stored []byte) bool {
	return k.name != "" && subtle.ConstantTimeCompare(k.hash[:], stored) == 1
}

// String names the credential, as in flo_<name>_[redacted].
func (k OperatorKey) String() string { return operatorScheme + k.name + "_[redacted]" }

// LogValue is the same as String.
func (k OperatorKey) LogValue() slog.Value { return slog.StringValue(k.String()) }
