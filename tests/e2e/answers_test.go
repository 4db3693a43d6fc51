package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flotillakv/flotilla/tests/process"
)

// Goal: a small request cannot make the node hold answers without a bound.
// Method: a batch that asks for a large value many times over.
func TestBatchIsToldWhenItsAnswersAreTooLarge(t *testing.T) {
	t.Parallel()
	c := curlOf(process.Dev(t))
	c.put(t, "/v1/kv/a", strings.Repeat("v", 1_500_000)).ok(t)
	const reads = 100
	body := `{"operations":[` + strings.Repeat(`{"get":{"key":"YQ=="}},`, reads-1) + `{"get":{"key":"YQ=="}}]}`
	answer := c.post(t, kvService+"Batch", body).ok(t)
	require.Less(t, len(answer.body), 64<<20, "and not 200 MB")
	var got struct {
		Results []struct {
			Get   *struct{}
			Error *struct {
				Info struct {
					Reason   string
					Metadata map[string]string
				}
			}
		}
	}
	answer.decode(t, &got)
	require.Len(t, got.Results, reads, "each operation has its answer")
	require.NotNil(t, got.Results[0].Get)
	last := got.Results[reads-1].Error
	require.NotNil(t, last)
	require.Equal(t, "REASON_TOO_LARGE", last.Info.Reason)
	require.Equal(t, "batch_answer_bytes_max", last.Info.Metadata["limit"])
}
