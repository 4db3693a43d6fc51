package watch

import (
	"context"
	"iter"
)

// Follow gives the answers of a stream's single watch, as next of the stream gives
// them: that it has begun, its events, and notices of progress. It ends with the
// error that ended the watch, or that of ctx.
func Follow(ctx context.Context, next func(context.Context, []Answer) ([]Answer, error)) iter.Seq2[Answer, error] {
	return func(yield func(Answer, error) bool) {
		var answers []Answer
		for {
			var err error
			if answers, err = next(ctx, answers[:0]); err != nil {
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
