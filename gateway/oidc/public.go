package oidc

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// publicOnly refuses connections to addresses that are not public: a tenant must not
// have the platform talk to its own services. It sees the address that a name was
// found to have, so a name that has changed meanwhile does not get by.
func publicOnly(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", address, err)
	}
	ip := at.Addr().Unmap()
	special := slices.ContainsFunc(specialSpaces, func(p netip.Prefix) bool { return p.Contains(ip.WithZone("")) })
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || special {
		return errors.New("the address is not a public one")
	}
	return nil
}

// specialSpaces are the addresses of the IANA registries of special purposes that
// net/netip takes for public ones.
//
//nolint:gochecknoglobals // constants in all but their type
var specialSpaces = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),     // this network
	netip.MustParsePrefix("100.64.0.0/10"), // between a provider and its customers
	netip.MustParsePrefix("192.0.0.0/24"),  // protocols
	netip.MustParsePrefix("192.0.2.0/24"),  // documentation, as are the next two
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), // benchmarks
	netip.MustParsePrefix("240.0.0.0/4"),   // reserved
	// What these hold is an IPv4 address, which may be any.
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001::/32"),
	netip.MustParsePrefix("2001:db8::/32"), // documentation
	netip.MustParsePrefix("fec0::/10"),     // sites, which are private now
}
