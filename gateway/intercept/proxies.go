package intercept

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// ForwardedFor is the header in which proxies tell whom they speak for, each of them
// with the address that it was called from, behind those of the ones before.
const ForwardedFor = "X-Forwarded-For"

const (
	// proxiesMax bounds the entries of Proxies, which each request may be compared
	// with.
	proxiesMax = 256
	// hopsMax bounds the entries of the header that are looked at.
	hopsMax = 32
	// hopBytesMax is longer than any address with a port.
	hopBytesMax = 64
)

// Proxies are the proxies, such as load balancers, whose word is taken for where a
// request came from. The zero value believes nobody.
type Proxies struct{ trusted []netip.Prefix }

// ParseProxies reads addresses and ranges in CIDR notation. A range of all addresses
// is refused: any caller could then say that it came from anywhere, so no limit of
// failed logins would hold it, and the audit log would say what it likes.
func ParseProxies(list []string) (Proxies, error) {
	if len(list) > proxiesMax {
		return Proxies{}, fmt.Errorf("%d are too many: up to %d are taken", len(list), proxiesMax)
	}
	var p Proxies
	for _, text := range list {
		prefix, err := parseProxy(text)
		if err != nil {
			return Proxies{}, err
		}
		p.trusted = append(p.trusted, prefix)
	}
	return p, nil
}

func parseProxy(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		address, notAddress := netip.ParseAddr(text)
		if notAddress != nil || address.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address, and no range such as 10.0.0.0/8 or 2001:db8::/32", text)
		}
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	switch {
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("%q is IPv4 in the form of IPv6: say it as IPv4", text)
	case prefix.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("%q is every address, so every caller could say that it came from anywhere: name the proxies", text)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%q is an address in a range: say %s for the range, or %s for the address", text, prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}

func (p Proxies) trusts(address netip.Addr) bool {
	for _, prefix := range p.trusted {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

// Client is the address of the client that a request came from: peer, the other side
// of the connection, unless it is a proxy that is trusted. Then it is the last address
// of forwarded, the lines of the header ForwardedFor, that is not such a proxy itself:
// all that stands before it was written by somebody who may lie. If all are proxies,
// it is the first of them. What is no address ends the search, with what was found
// until then.
func (p Proxies) Client(peer string, forwarded []string) string {
	address, ok := parseHop(peer)
	if !ok || !p.trusts(address) {
		return peer
	}
	client := peer
	rest := hops{lines: forwarded}
	for range hopsMax {
		text, ok := rest.last()
		if !ok {
			break
		}
		hop, ok := parseHop(text)
		if !ok {
			break
		}
		client = hop.String()
		if !p.trusts(hop) {
			break
		}
	}
	return client
}

// hops are the entries of a header's lines, from the last to the first.
type hops struct {
	lines []string
	// line is what is left of the line that was begun, if one was.
	line  string
	begun bool
}

// last takes the last entry that is left. One that is too long is cut off.
func (h *hops) last() (text string, ok bool) {
	if !h.begun {
		if len(h.lines) == 0 {
			return "", false
		}
		h.line, h.begun = h.lines[len(h.lines)-1], true
		h.lines = h.lines[:len(h.lines)-1]
	}
	tail := h.line[max(0, len(h.line)-hopBytesMax):]
	comma := strings.LastIndexByte(tail, ',')
	if h.begun = comma >= 0; h.begun {
		h.line = h.line[:len(h.line)-len(tail)+comma]
	}
	return tail[comma+1:], true
}

// parseHop reads an address, with or without a port; one of IPv6 may be in brackets.
// A zone means nothing on another machine.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.Trim(text, " \t")
	if len(text) >= hopBytesMax {
		return netip.Addr{}, false
	}
	var address netip.Addr
	if with, err := netip.ParseAddrPort(text); err == nil {
		address = with.Addr()
	} else {
		if inner, ok := strings.CutPrefix(text, "["); ok {
			if text, ok = strings.CutSuffix(inner, "]"); !ok {
				return netip.Addr{}, false
			}
		}
		if address, err = netip.ParseAddr(text); err != nil {
			return netip.Addr{}, false
		}
	}
	return address.Unmap(), address.Zone() == ""
}

// Handler has a handler see the client's address as its request's RemoteAddr.
func (p Proxies) Handler(next http.Handler) http.Handler {
	if len(p.trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client := p.Client(r.RemoteAddr, r.Header.Values(ForwardedFor)); client != r.RemoteAddr {
			r = r.WithContext(r.Context()) // a request is not to be changed
			r.RemoteAddr = client
		}
		next.ServeHTTP(w, r)
	})
}
