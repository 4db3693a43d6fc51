package machine

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Level is the feature level that this version knows. It is raised with each
// new kind of command and each new stored format, so that these are used only
// once every node knows them: a replica halts at a command that it does not know.
const Level = 2

// LevelQuotas is from which level on commands say how much a namespace may hold.
const LevelQuotas = 2

// The fields of internal.v1.Command of each level are those up to these numbers.
const (
	level1FieldMax = 12
	level2FieldMax = 15
)

// LevelOf is the feature level that an encoded internal.v1.Command needs;
// math.MaxUint32 if this version does not know the command, or it is malformed.
func LevelOf(command []byte) uint32 {
	level := uint32(1)
	for len(command) > 0 {
		number, kind, n := protowire.ConsumeTag(command)
		if n < 0 || number > level2FieldMax {
			return math.MaxUint32
		}
		if number > level1FieldMax {
			level = 2
		}
		command = command[n:]
		if n = protowire.ConsumeFieldValue(number, kind, command); n < 0 {
			return math.MaxUint32
		}
		command = command[n:]
	}
	return level
}
