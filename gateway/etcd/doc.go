// Package etcd serves the etcd v3 API: to its clients each namespace of a
// tenant is an etcd cluster of its own. The package only translates: requests
// become those of flotilla.v1, which gateway/route runs as for every other
// front door, and answers and errors become etcd's.
//
// What comes in is checked by etcd's rules, in etcd's order and with etcd's
// errors, before it is translated. What cannot be as in etcd is told in
// docs/etcd.md.
package etcd
