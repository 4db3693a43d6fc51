package mvcc

import (
	"encoding/hex"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStoredForm pins the stored form: what is on disks must stay readable.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version Version
		stored  string // hex
	}{
		"tombstone":   {Version{Tombstone: true}, "02"},
		"first write": {Version{CreateRevision: 2, Version: 1, Value: []byte("hi")}, "01" + "02" + "01" + "00" + "6869"},
		"empty value": {Version{CreateRevision: 300, Version: 128, Value: []byte{}}, "01" + "ac02" + "8001" + "00"},
		"lease":       {Version{CreateRevision: 2, Version: 1, Lease: -3, Value: []byte{0}}, "01" + "02" + "01" + "05" + "00"},
		"largest": {
			Version{CreateRevision: math.MaxUint64, Version: math.MaxUint64, Lease: math.MinInt64, Value: []byte{}},
			"01" + "ffffffffffffffffff01" + "ffffffffffffffffff01" + "ffffffffffffffffff01",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stored := appendVersion(nil, tt.version)
			require.Equal(t, tt.stored, hex.EncodeToString(stored))
			require.LessOrEqual(t, len(stored), tt.version.encodedBytesMax())
			decoded, err := DecodeVersion(stored)
			require.NoError(t, err)
			require.Equal(t, tt.version, decoded)
		})
	}
}

func TestDecodeVersionRefusesCorruption(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"empty":                    "",
		"unknown format":           "03" + "0201",
		"tombstone with more":      "0200",
		"no create revision":       "01",
		"create revision 0":        "01" + "00" + "01" + "00",
		"no version":               "01" + "02",
		"version 0":                "01" + "02" + "00" + "00",
		"no lease":                 "01" + "02" + "01",
		"uvarint not the shortest": "01" + "8200" + "01" + "00",
		"uvarint cut short":        "01" + "82",
		"uvarint too long":         "01" + "ffffffffffffffffff02" + "01" + "00",
	}
	for name, stored := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := hex.DecodeString(stored)
			require.NoError(t, err)
			_, err = DecodeVersion(raw)
			require.ErrorIs(t, err, ErrCorruptVersion)
			require.False(t, IsRefusal(err))
		})
	}
}

// FuzzDecodeVersion expects that what can be decoded has one stored form only.
func FuzzDecodeVersion(f *testing.F) {
	f.Add(appendVersion(nil, Version{Tombstone: true}))
	f.Add(appendVersion(nil, Version{CreateRevision: 300, Version: 2, Lease: -9, Value: []byte("value")}))
	f.Add([]byte{kindPut, 0x80, 0x00, 1, 0})
	f.Fuzz(func(t *testing.T, stored []byte) {
		v, err := DecodeVersion(stored)
		if err != nil {
			require.ErrorIs(t, err, ErrCorruptVersion)
			return
		}
		require.Equal(t, stored, appendVersion(nil, v))
	})
}
