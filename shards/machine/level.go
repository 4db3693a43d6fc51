package machine

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	internalv1 "github.com/flotillakv/flotilla/proto/gen/flotilla/internalv1"
)

// Level is the feature level that this version knows. It is raised with each
// new kind of command and each new stored format, so that these are used only
// once every node knows them: a replica halts at a command that it does not know.
const Level = 3

// levelAccounting is from which level on a shard accounts for stored bytes.
const levelAccounting = 2

// levelFairAnswers is from which level on namespaces share the room for kept answers
// to request ids. Before it the oldest on the shard are forgotten first.
const levelFairAnswers = 3

// LevelQuotas is from which level on commands say how much a namespace may hold.
const LevelQuotas = 2

// The fields of internal.v1.Command of each level are those up to these numbers.
const (
	level1FieldMax = 12
	level2FieldMax = 16
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

// raiseLevel has the machine do from now on what a level brought.
func (m *Machine) raiseLevel(req *internalv1.RaiseLevel) (proto.Message, error) {
	level := req.GetLevel()
	if level > Level {
		return nil, fmt.Errorf("%w: the shard comes to feature level %d, this version knows %d: a newer version wrote it", ErrBadEntry, level, Level)
	}
	m.shard.Level = max(m.shard.GetLevel(), level)
	if m.shard.GetLevel() >= levelAccounting && m.shard.GetAccountedFromMs() == 0 {
		m.shard.AccountedFromMs = max(m.Now(), 1) // 0 is never
	}
	return &internalv1.RaiseLevelResponse{Level: m.shard.GetLevel()}, nil
}
