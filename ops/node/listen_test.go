package node

import (
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAdvertised(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, set, listens, want string }{
		{"loopback", "", "127.0.0.1:2379", "127.0.0.1:2379"},
		{"one address", "", "10.0.0.1:2379", "10.0.0.1:2379"},
		{"one IPv6 address", "", "[fd00::1]:2379", "[fd00::1]:2379"},
		{"every IPv4 address", "", "0.0.0.0:2379", "host-1:2379"},
		{"every address", "", "[::]:2379", "host-1:2379"},
		{"set", "n1.example.com:32379", "0.0.0.0:2379", "n1.example.com:32379"},
		{"set with whatever port it has", "n1.example.com:0", "127.0.0.1:40001", "n1.example.com:40001"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			listens, err := net.ResolveTCPAddr("tcp", test.listens)
			require.NoError(t, err)
			got, err := advertised(test.set, listens, func() (string, error) { return "host-1", nil })
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
	nameless := errors.New("no name")
	_, err := advertised("", &net.TCPAddr{IP: net.IPv4zero, Port: 1}, func() (string, error) { return "", nameless })
	require.ErrorIs(t, err, nameless)
}
