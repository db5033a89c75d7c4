package porcupine_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// TestNothingToCheck checks and draws histories without operations, whole and in parts.
func TestNothingToCheck(t *testing.T) {
	parts := models.KV
	parts.Partition = func([]porcupine.Operation) [][]porcupine.Operation { return [][]porcupine.Operation{nil, {}} }
	whole := models.KV
	whole.Partition, whole.PartitionEvent = nil, nil
	for name, m := range map[string]porcupine.Model{"by key": models.KV, "empty parts": parts, "whole": whole, "opaque": workload.Opaque(models.KV)} {
		require.True(t, porcupine.CheckOperations(m, nil), name)
		require.True(t, porcupine.CheckEvents(m, nil), name)
		require.True(t, porcupine.CheckEvents(m, []porcupine.Event{}), name)
		result, info := porcupine.CheckOperationsVerbose(m, nil, time.Minute)
		require.Equal(t, porcupine.Ok, result, name)
		draw(t, m, info)
	}
}

// TestDrawWhatIsThere draws the result of a check that ended early, pending operations, and
// annotations without a history.
func TestDrawWhatIsThere(t *testing.T) {
	model, history := endless()
	var result porcupine.CheckResult
	var info porcupine.LinearizationInfo
	for timeout := 50 * time.Millisecond; timeout < time.Minute; timeout *= 2 { // a busy machine gets nowhere at first
		result, info = porcupine.CheckOperationsVerbose(model, history, timeout)
		require.Equal(t, porcupine.Unknown, result)
		require.Len(t, info.PartialLinearizations(), 1)
		if len(info.PartialLinearizations()[0]) > 0 {
			break
		}
	}
	require.NotEmpty(t, info.PartialLinearizations()[0], "no partial linearization of a check that ended early")
	draw(t, model, info)

	metadata := models.KV
	metadata.DescribeOperationMetadata = func(info any) string { return fmt.Sprint("none: ", info == nil) }
	_, info = porcupine.CheckOperationsVerbose(metadata, workload.OverlappingAppends(2), 0)
	require.Contains(t, draw(t, metadata, info), "none: true", "the description of an operation without metadata")

	open := []porcupine.Event{{Kind: porcupine.CallEvent, Value: models.KVInput{Op: models.KVPut, Key: "k", Value: "a"}, Metadata: 7}}
	result, info = porcupine.CheckEventsVerbose(models.KV, open, 0)
	require.Equal(t, porcupine.Ok, result)
	draw(t, models.KV, info)
	noNil := models.KV
	noNil.DescribeOperation = func(_, output any) string { return output.(models.KVOutput).Value }
	require.Contains(t, draw(t, noNil, info), "{1 k a} pending")

	var none porcupine.LinearizationInfo
	require.Empty(t, none.PartialLinearizations())
	require.Empty(t, none.PartialLinearizationsOperations())
	none.AddAnnotations([]porcupine.Annotation{{Tag: "server", Start: 5, Description: "here", Details: "more", TextColor: "#fff", BackgroundColor: "#000"}})
	require.Contains(t, draw(t, models.KV, none), "here", "the annotation")
}

func draw(t *testing.T, model porcupine.Model, info porcupine.LinearizationInfo) string {
	t.Helper()
	var page bytes.Buffer
	require.NoError(t, porcupine.Visualize(model, info, &page))
	require.Contains(t, page.String(), "</html>")
	return page.String()
}
