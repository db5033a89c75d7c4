package porcupine_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/porcupine/workload"
)

// TestNothingToCheck checks histories without operations, whole and in parts: they are
// legal, and can be drawn.
func TestNothingToCheck(t *testing.T) {
	parts := models.KV
	parts.Partition = func([]porcupine.Operation) [][]porcupine.Operation { return [][]porcupine.Operation{nil, {}} }
	whole := models.KV
	whole.Partition, whole.PartitionEvent = nil, nil
	for name, m := range map[string]porcupine.Model{"by key": models.KV, "empty parts": parts, "whole": whole, "opaque": workload.Opaque(models.KV)} {
		if !porcupine.CheckOperations(m, nil) || !porcupine.CheckEvents(m, nil) || !porcupine.CheckEvents(m, []porcupine.Event{}) {
			t.Errorf("%s: nothing is not legal", name)
		}
		result, info := porcupine.CheckOperationsVerbose(m, nil, time.Minute)
		if result != porcupine.Ok {
			t.Errorf("%s: got %v", name, result)
		}
		draw(t, m, info)
	}
}

// TestDrawWhatIsThere draws what a check left that ended early, operations that never returned,
// and annotations without a history.
func TestDrawWhatIsThere(t *testing.T) {
	model, history := endless()
	var result porcupine.CheckResult
	var info porcupine.LinearizationInfo
	for timeout := 50 * time.Millisecond; timeout < time.Minute; timeout *= 2 { // a busy machine gets nowhere at first
		result, info = porcupine.CheckOperationsVerbose(model, history, timeout)
		if result != porcupine.Unknown || len(info.PartialLinearizations()) != 1 {
			t.Fatalf("got %v with %d partitions", result, len(info.PartialLinearizations()))
		}
		if len(info.PartialLinearizations()[0]) > 0 {
			break
		}
	}
	if len(info.PartialLinearizations()[0]) == 0 {
		t.Error("no partial linearization of a check that ended early")
	}
	draw(t, model, info)

	metadata := models.KV
	metadata.DescribeOperationMetadata = func(info any) string { return fmt.Sprint("none: ", info == nil) }
	_, info = porcupine.CheckOperationsVerbose(metadata, workload.OverlappingAppends(2), 0)
	if page := draw(t, metadata, info); !bytes.Contains(page, []byte("none: true")) {
		t.Error("what the model says of an operation without metadata is not on the page")
	}

	open := []porcupine.Event{{Kind: porcupine.CallEvent, Value: models.KVInput{Op: models.KVPut, Key: "k", Value: "a"}, Metadata: 7}}
	result, info = porcupine.CheckEventsVerbose(models.KV, open, 0)
	if result != porcupine.Ok {
		t.Errorf("got %v for an operation that never returned", result)
	}
	draw(t, models.KV, info)
	noNil := models.KV
	noNil.DescribeOperation = func(_, output any) string { return output.(models.KVOutput).Value }
	if page := draw(t, noNil, info); !bytes.Contains(page, []byte("{1 k a} pending")) {
		t.Error("the pending put is not on the page")
	}

	var none porcupine.LinearizationInfo
	if len(none.PartialLinearizations()) != 0 || len(none.PartialLinearizationsOperations()) != 0 {
		t.Error("there are linearizations of nothing")
	}
	none.AddAnnotations([]porcupine.Annotation{{Tag: "server", Start: 5, Description: "here", Details: "more", TextColor: "#fff", BackgroundColor: "#000"}})
	if page := draw(t, models.KV, none); !bytes.Contains(page, []byte("here")) {
		t.Error("the annotation is not on the page")
	}
}

func draw(t *testing.T, model porcupine.Model, info porcupine.LinearizationInfo) []byte {
	t.Helper()
	var page bytes.Buffer
	if err := porcupine.Visualize(model, info, &page); err != nil || !bytes.Contains(page.Bytes(), []byte("</html>")) {
		t.Errorf("a page of %d bytes, %v", page.Len(), err)
	}
	return page.Bytes()
}
