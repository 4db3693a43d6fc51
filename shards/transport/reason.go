package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// reason is why a connection did not come about. It is a label of metrics, so
// there are few.
type reason string

const (
	reasonFull      reason = "full"      // no room for another connection
	reasonTimeout   reason = "timeout"   // the other side did not answer in time
	reasonTLS       reason = "tls"       // no TLS, or no certificate that is good here
	reasonMalformed reason = "malformed" // something else than this protocol
	reasonClosed    reason = "closed"    // the other side closed it in the middle
	reasonVersion   reason = "version"
	reasonCluster   reason = "cluster"
	reasonNode      reason = "node"
	reasonKind      reason = "kind"
	reasonAddress   reason = "address" // no address of the node is known
	reasonDial      reason = "dial"    // nobody takes connections at its address
	reasonStopping  reason = "stopping"
)

// advice is what an operator does about it.
func (r reason) advice() string {
	switch r {
	case reasonTimeout:
		return "see whether the node there is stopped, or has too much to do"
	case reasonTLS:
		return "nodes need certificates of one authority, good for the hosts that they are reached under, for servers and for clients: see 'flotilla cert node --help'"
	case reasonMalformed:
		return "see that the address is that of a node's Raft port, and that both nodes use TLS or neither does"
	case reasonClosed, reasonFull:
		return "see the log of the node there, and that both nodes use TLS or neither does"
	case reasonVersion, reasonKind:
		return "bring the older of the two nodes up to date"
	case reasonCluster:
		return "correct the address that the node advertises, or take the other cluster's node away from it"
	case reasonNode:
		return "correct the address that the node advertises"
	case reasonAddress:
		return "start the node, so that it tells its address"
	case reasonDial:
		return "see that the node runs, and that its Raft port can be reached from here"
	default:
		return ""
	}
}

// A ConnectError is why a node was not reached. Its text says what to do.
type ConnectError struct {
	// NodeID is the node, and Address where it was looked for, empty if that is
	// not known.
	NodeID, Address string
	// Err is what happened.
	Err    error
	reason reason
}

func (e *ConnectError) Error() string {
	at := ""
	if e.Address != "" {
		at = " at " + e.Address
	}
	text := fmt.Sprintf("reach node %s%s: %v", e.NodeID, at, e.Err)
	if advice := e.reason.advice(); advice != "" {
		text += ": " + advice
	}
	return text
}

func (e *ConnectError) Unwrap() error { return e.Err }

// refusal is a hello that is not welcome, in the words of the side that was
// reached.
type refusal struct {
	verdict verdict
	words   string
}

func (e *refusal) Error() string { return e.words }

// reason of a verdict that is not welcome.
func (v verdict) reason() reason {
	switch v {
	case otherVersion:
		return reasonVersion
	case otherCluster:
		return reasonCluster
	case otherNode:
		return reasonNode
	case unknownKind:
		return reasonKind
	default:
		return reasonMalformed
	}
}

// reasonOf tells why a handshake went wrong.
func reasonOf(err error) reason {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.verdict.reason()
	}
	if _, ok := errors.AsType[*versionError](err); ok {
		return reasonVersion
	}
	switch {
	case errors.Is(err, context.Canceled):
		return reasonStopping
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return reasonClosed // also in the middle of a TLS handshake
	case isTLS(err):
		return reasonTLS
	}
	return reasonMalformed
}

// isTLS tells an error of TLS from one of what is carried in it.
func isTLS(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return true // an alert that the other side sent; it has no type
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	_, ok := errors.AsType[*tlsError](err)
	return ok
}
