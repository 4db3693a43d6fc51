package watch

import (
	"context"
	"iter"
)

// Follow gives the answers of a single watch, which create begins on a stream:
// that it has begun, its events, and notices of progress. It ends with the error
// that ended the watch, or that of ctx. Breaking the loop ends the watch.
func Follow(ctx context.Context, create func(*Stream) error) iter.Seq2[Answer, error] {
	return func(yield func(Answer, error) bool) {
		stream := NewStream(StreamConfig{})
		defer stream.Close()
		if err := create(stream); err != nil {
			yield(Answer{}, err)
			return
		}
		var answers []Answer
		for {
			var err error
			if answers, err = stream.Next(ctx, answers[:0]); err != nil {
				yield(Answer{}, err)
				return
			}
			for _, a := range answers {
				if a.Canceled {
					yield(Answer{}, a.Err)
					return
				}
				if !yield(a, nil) {
					return
				}
			}
			clear(answers)
		}
	}
}
