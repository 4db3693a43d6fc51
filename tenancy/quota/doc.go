// Package quota keeps rates: how many tokens a tenant has left of those that come
// with time, alone (Bucket) or shared among nodes that spend ahead of asking
// (Shared). It is pure: time comes in as an argument.
package quota
