// Package process runs the real program for the tests of the whole: it builds
// flotilla once for the run of a test binary, starts dev nodes with a home
// directory, data directory and ports of their own, kills them, stops them and
// starts them again, and runs commands against them. It runs clusters in the same
// way, also over a network that can be broken (tests/faultnet), of nodes that do
// wrong what they are told (shards/fault).
//
// A process that a test started never outlives it: the test's cleanup ends it,
// and where the operating system can, so does the end of the test binary.
//
// A package that uses it has
//
//	func TestMain(m *testing.M) { os.Exit(process.Main(m)) }
package process
