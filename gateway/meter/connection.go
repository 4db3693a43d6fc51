package meter

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"

	"github.com/flotillakv/flotilla/tenancy"
)

// tenantsOfConnectionMax bounds the tenants for which one connection counts: it may be that of
// a proxy.
const tenantsOfConnectionMax = 64

// A Connection counts as one of each tenant that makes requests on it, from the
// first request until it is closed.
type Connection struct {
	mu      sync.Mutex
	tenants []*Tenant
	closed  bool
}

// Enter counts the connection for a principal's tenant, unless it does already. It
// returns a *tenancy.QuotaError when the tenant has as many as it may. A nil
// Connection is not counted.
func (m *Meter) Enter(c *Connection, p *tenancy.Principal) error {
	if m == nil || c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.tenants, func(a *Tenant) bool { return a.id == p.Tenant }) {
		return nil
	}
	if c.closed || len(c.tenants) == tenantsOfConnectionMax {
		return nil
	}
	a, err := m.Tenant(p)
	if err != nil {
		return err
	}
	if most := p.Limits.ConnectionsMax; a.connections.Add(1) > int64(most) && most > 0 {
		a.connections.Add(-1)
		m.metrics.connections.Inc()
		return &tenancy.QuotaError{Limit: limitConnections, Value: uint64(most)}
	}
	c.tenants = append(c.tenants, a)
	return nil
}

func (c *Connection) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.tenants {
		a.connections.Add(-1)
	}
	c.tenants, c.closed = nil, true
}

// Listener has the connections of a listener counted.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted}
	c.address = Address{Addr: accepted.RemoteAddr(), connection: &c.connection}
	return c, nil
}

type conn struct {
	net.Conn
	connection Connection
	address    Address
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.connection.close()
	return c.Conn.Close()
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.address }

// Address is the address of the other side of a connection that is counted. It
// leads to the connection: grpc tells a handler nothing of it but addresses.
type Address struct {
	net.Addr
	connection *Connection
}

// ConnectionOf is the connection that an address is the other side of; nil if it is
// not counted.
func ConnectionOf(address net.Addr) *Connection {
	a, _ := address.(Address)
	return a.connection
}

type connectionKey struct{}

// ConnContext is for http.Server: it keeps the connection for ConnectionFrom.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	if counted, ok := c.(*conn); ok {
		return context.WithValue(ctx, connectionKey{}, &counted.connection)
	}
	return ctx
}

// ConnectionFrom is the connection of an HTTP request; nil if it is not counted.
func ConnectionFrom(ctx context.Context) *Connection {
	c, _ := ctx.Value(connectionKey{}).(*Connection)
	return c
}
