// Package auth turns what a caller presents into a credential that can be
// looked up and compared: API keys in this form, more kinds beside it. It
// decides nothing about what a credential allows, stores nothing and reads no
// clock; randomness comes in as an argument.
package auth
