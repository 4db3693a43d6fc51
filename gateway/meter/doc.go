// Package meter admits the requests of tenants by their rates, which all nodes
// share, and counts what they use.
//
//	route, rest, etcd → Tenant.Admit → tokens in hand ─┐ asks ahead, every 50 ms
//	                                                    ▼
//	                        the tenant's home → quota.Shared (on one node, by hash)
//
// Each tenant has a home among the nodes that live, by rendezvous hashing. The home
// keeps the tokens of its rates; every gateway that the tenant uses has some in
// hand, as many as the tenant spends there in two asks, so that an admission is a
// comparison and an addition in memory. What is not spent goes back.
//
//	M1: an admission waits for nobody. What is not in hand is refused, but for the
//	    first requests that come to a gateway: these are let in on credit, up to a
//	    tenth of a second's, if there should be tokens at the home.
//	M2: all that is spent is taken from the home's tokens in the end, credit
//	    included. So over some seconds the rate holds, however the traffic moves.
//	M3: a home that cannot be reached is done without: each gateway then grants itself
//	    its part of the rate, and the home, once it is back, takes that from what
//	    gathered meanwhile.
//
// While no gateway but the home itself is used by a tenant nothing is leased: the
// home's gateway spends from the bucket.
//
// Lock order: Tenant.mu, home.mu, Meter.mu.
package meter
