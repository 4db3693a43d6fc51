package mvcc

import flotillav1 "github.com/flotillakv/flotilla/proto/gen/flotilla/v1"

const (
	arenaChunkBytesMin = 1 << 10
	arenaChunkBytesMax = 64 << 10
	arenaBlockKeysMin  = 4
	arenaBlockKeysMax  = 256
)

// arena copies keys and values out of storage with few allocations: an answer
// of many keys is cut from chunks that double in size. What is cut from an arena
// lives as long as any of it does, so an arena serves one answer.
type arena struct {
	chunk      []byte // what is left of the newest chunk
	chunkBytes int    // its size
	block      []flotillav1.KeyValue
	blockKeys  int
}

// copy is a copy of b; appending to it does not overwrite its neighbour.
func (a *arena) copy(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) > arenaChunkBytesMax/4 { // large ones would waste what is left
		return append([]byte(nil), b...)
	}
	if len(b) > len(a.chunk) {
		a.chunkBytes = min(max(2*a.chunkBytes, arenaChunkBytesMin, len(b)), arenaChunkBytesMax)
		a.chunk = make([]byte, a.chunkBytes)
	}
	n := copy(a.chunk, b)
	cut := a.chunk[:n:n]
	a.chunk = a.chunk[n:]
	return cut
}

// keyValue is a copy of a version as the API shows it, without the value for
// keysOnly.
func (a *arena) keyValue(key []byte, cur current, keysOnly bool) *flotillav1.KeyValue {
	if len(a.block) == 0 {
		a.blockKeys = min(max(2*a.blockKeys, arenaBlockKeysMin), arenaBlockKeysMax)
		a.block = make([]flotillav1.KeyValue, a.blockKeys)
	}
	kv := &a.block[0]
	a.block = a.block[1:]
	var value []byte
	if !keysOnly {
		value = a.copy(cur.Value)
	}
	cur.fill(kv, a.copy(key), value, cur.mod)
	return kv
}

// answerBytes is what kv counts against the bounds of an answer.
func answerBytes(key, value []byte) int { return len(key) + len(value) + AnswerKeyBytes }
