package machine

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Level is the feature level that this version knows. It is raised with each
// new kind of command and each new stored format, so that these are used only
// once every node knows them: a replica halts at a command that it does not know.
const Level = 1

// Level 1 has the fields of internal.v1.Command up to this number.
const level1FieldMax = 12

// LevelOf is the feature level that an encoded internal.v1.Command needs;
// math.MaxUint32 if this version does not know the command, or it is malformed.
func LevelOf(command []byte) uint32 {
	for len(command) > 0 {
		number, kind, n := protowire.ConsumeTag(command)
		if n < 0 || number > level1FieldMax {
			return math.MaxUint32
		}
		command = command[n:]
		if n = protowire.ConsumeFieldValue(number, kind, command); n < 0 {
			return math.MaxUint32
		}
		command = command[n:]
	}
	return Level
}
