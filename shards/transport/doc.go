// Package transport carries Raft messages and snapshots between nodes, for the
// consensus library, whose wire interfaces it implements.
//
//	library ── GetConnection(node id) ──► dial ── hello ──► welcome ── batch… ──► handler
//	           GetSnapshotConnection      dial ── hello ──► welcome ── chunk… ──► handler
//	                                                          done ◄── last chunk
//
// The library names nodes by their ids. Where a node is, is asked for each time
// that it is dialed, so a node may come back under another address. A connection
// goes one way: each of two nodes dials the other. It begins with a handshake
// (handshake.go), in which both sides make sure that they belong to one cluster
// and that the right node is reached; after that it carries frames (frame.go). One for
// messages is made again when its other side has gone (messages.go).
//
// With TLS both sides show the certificate of a node; one of a client, of
// the same authority, is refused (VerifyNode). Without TLS anybody who reaches
// the port can pass for a node, so it must then be reached from this machine only.
//
//	X1: before the handshake a connection costs a bounded, small amount of
//	    memory, and a bounded time.
//	X2: nothing that arrives is decoded before its length and checksum are
//	    right, and nothing reaches the library that its decoders would loop,
//	    recurse or panic on.
//	X3: what is wrong with a connection ends that connection alone.
//	X4: no send lasts longer than writeTimeout for each piece that the peer
//	    takes, and ends when the library stops.
package transport
