// Package model is the sequential specification of a namespace's key space:
// what each request answers, one after another. It is written to be obviously
// right and is slow: it keeps every revision as a whole map, and looks at every
// key for every answer. It shares no code with what it is compared with.
//
// It does not know the bounds on sizes and costs, so it never refuses with
// TooLarge, and purging does not exist in it: nothing can be seen of it.
package model
