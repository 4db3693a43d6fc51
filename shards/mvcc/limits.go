package mvcc

// Limits bounds one request. A tenant's own limits are checked at the edge,
// before the request is proposed; the machine checks only HardLimits, because
// it must refuse alike on every replica and over time.
type Limits struct {
	// KeyBytesMax is the longest key, in bytes. A bound of a range may be one
	// byte longer: it may name the place right after a key.
	KeyBytesMax int
	// ValueBytesMax is the longest value, in bytes.
	ValueBytesMax int
	// TxnOperationsMax bounds, each by itself, the operations of `success`,
	// those of `failure`, and the comparisons of a transaction. One that is
	// nested may have as many as the longest list of the one around it leaves,
	// as in etcd; TxnOperationsTotalMax bounds them all together.
	TxnOperationsMax int
}

// DefaultLimits are the limits of a tenant without its own. Not to be changed.
//
//nolint:gochecknoglobals // a constant in all but its type
var DefaultLimits = Limits{
	KeyBytesMax:      4 << 10,
	ValueBytesMax:    1536 << 10,
	TxnOperationsMax: 128,
}

// HardLimits are what every key space holds to, whatever a tenant's limits
// are. Not to be changed: a log entry must be answered alike when it is
// replayed.
//
//nolint:gochecknoglobals // a constant in all but its type
var HardLimits = Limits{
	KeyBytesMax:      4 << 10,
	ValueBytesMax:    4 << 20,
	TxnOperationsMax: 1024,
}

// RequestIDBytesMax is the longest request id, in bytes.
const RequestIDBytesMax = 64

// The bounds of one Delete or Txn, nested ones included. They keep one tenant's
// command from holding up the others of its shard (T1), and bound what a
// replica holds in memory for it. A request that would pass one is refused with
// a *TooLargeError and changes nothing.
const (
	// TxnKeysMax is the number of keys that ranges may visit to read, count,
	// compare or remove them.
	TxnKeysMax = 100_000
	// TxnRemovedBytesMax is the bytes of the keys that ranges may remove,
	// their values not counted.
	TxnRemovedBytesMax = 16 << 20
	// TxnAnswerBytesMax is the bytes of the keys and values in the answer,
	// each key counted with AnswerKeyBytes.
	TxnAnswerBytesMax = 4 << 20
	// TxnOperationsTotalMax is the number of operations in all lists, those of
	// nested transactions included.
	TxnOperationsTotalMax = 1024
)

// The bounds of a range that is not ordered by key: all its keys that pass the
// filters are held in memory to be ordered. A larger one is refused with a
// *TooLargeError.
const (
	// SortKeysMax is the number of keys.
	SortKeysMax = 100_000
	// SortBytesMax is their bytes, counted as ReadLimits do.
	SortBytesMax = 64 << 20
)

// AnswerKeyBytes is what a key costs in an answer besides its own bytes and
// those of its value; an encoded answer is no larger than what was counted.
const AnswerKeyBytes = 64

// ReadLimits bounds one answer of Range; 0 is no bound. An answer that is cut
// says `more`, and has at least one key, however large.
type ReadLimits struct {
	// KeysMax is the number of keys.
	KeysMax int
	// BytesMax is the bytes of keys and values, with AnswerKeyBytes for each
	// key.
	BytesMax int
	// Interrupted, if set, is asked every visitsBetweenAsking keys, answered or
	// not; an error of it ends the read. Reads outside of the machine end so
	// when their caller went away.
	Interrupted func() error
}

// visitsBetweenAsking is how many keys a read visits before it asks whether to
// go on: some tens of microseconds.
const visitsBetweenAsking = 128

// asking asks a read that visits many keys whether to go on.
type asking struct {
	interrupted func() error
	visits      int
}

// newAsking is nil if there is nobody to ask.
func newAsking(interrupted func() error) *asking {
	if interrupted == nil {
		return nil
	}
	return &asking{interrupted: interrupted}
}

// visit counts a key; its error ends the read.
func (a *asking) visit() error {
	if a == nil {
		return nil
	}
	if a.visits++; a.visits%visitsBetweenAsking != 0 {
		return nil
	}
	return a.interrupted()
}

// budget is what a transaction may still cost. A nil budget is unlimited: reads
// outside of the machine hold up nobody.
type budget struct {
	keys         int
	removedBytes int
	answerBytes  int
}

// visit counts a key that a range visits.
func (b *budget) visit() error {
	if b == nil {
		return nil
	}
	return spend(&b.keys, 1, "txn_keys_max", TxnKeysMax)
}

// remove counts a key that a range removes.
func (b *budget) remove(key []byte) error {
	return spend(&b.removedBytes, len(key), "txn_removed_bytes_max", TxnRemovedBytesMax)
}

// answer counts bytes of the answer.
func (b *budget) answer(bytes int) error {
	if b == nil {
		return nil
	}
	return spend(&b.answerBytes, bytes, "txn_answer_bytes_max", TxnAnswerBytesMax)
}

func spend(spent *int, amount int, limit string, most int) error {
	if *spent += amount; *spent > most {
		return &TooLargeError{Limit: limit, Value: uint64(*spent), Max: uint64(most)}
	}
	return nil
}
