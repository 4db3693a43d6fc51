// Package version tells which version of Flotilla the program is.
package version

import "runtime/debug"

// String is the program's version as its build recorded it: a tag, a commit's
// pseudo-version, or "(devel)".
func String() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
