// Package apierr holds the one table that says what each error of the platform
// is at the API: its status code, its reason, the facts a program may use, when
// to try again, and what a person is told. An error that the table does not
// know is a fault of the platform: callers get a fixed message and the
// request's id, and the cause is for the log alone.
//
// It decides nothing about retries inside the platform and logs nothing.
package apierr
