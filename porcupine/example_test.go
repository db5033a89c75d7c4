package porcupine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"raftlab/porcupine"
	"raftlab/porcupine/models"
)

// A counter that can be increased and read, checked with a model written for it.
func Example() {
	counter := porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			if input == "increase" {
				return true, state.(int) + 1
			}
			return output == state, state
		},
	}
	history := []porcupine.Operation{
		{ClientId: 0, Input: "increase", Call: 0, Return: 10},
		{ClientId: 1, Input: "read", Output: 1, Call: 2, Return: 5},  // during the increase
		{ClientId: 2, Input: "read", Output: 0, Call: 7, Return: 12}, // called after the read of 1
	}
	fmt.Println(porcupine.CheckOperations(counter, history[:2]))
	fmt.Println(porcupine.CheckOperations(counter, history))
	// Output:
	// true
	// false
}

// A call without a return may have taken effect, or not.
func ExampleCheckEvents() {
	history := []porcupine.Event{
		{ClientId: 0, Kind: porcupine.CallEvent, Id: 0, Value: models.KVInput{Op: models.KVPut, Key: "x", Value: "a"}},
		{ClientId: 1, Kind: porcupine.CallEvent, Id: 1, Value: models.KVInput{Op: models.KVGet, Key: "x"}},
		{ClientId: 1, Kind: porcupine.ReturnEvent, Id: 1, Value: models.KVOutput{Value: "a"}},
	}
	fmt.Println(porcupine.CheckEvents(models.KV, history))
	// Output: true
}

func ExampleCheckOperationsContext() {
	history := []porcupine.Operation{{ClientId: 3, Input: models.KVInput{}, Output: models.KVOutput{}, Call: 20, Return: 10}}
	result, _, err := porcupine.CheckOperationsContext(context.Background(), models.KV, history, porcupine.Options{Timeout: time.Second})
	fmt.Println(result, errors.Is(err, porcupine.ErrMalformed))
	fmt.Println(err)
	// Output:
	// Illegal true
	// malformed history: element 0: operation of client 3 returns at 10, before its call at 20
}

func ExampleVisualizePath() {
	history := []porcupine.Operation{
		{ClientId: 0, Input: models.KVInput{Op: models.KVPut, Key: "x", Value: "a"}, Output: models.KVOutput{}, Call: 0, Return: 10},
		{ClientId: 1, Input: models.KVInput{Key: "x"}, Output: models.KVOutput{}, Call: 12, Return: 15},
	}
	result, info := porcupine.CheckOperationsVerbose(models.KV, history, 0)
	info.AddAnnotations([]porcupine.Annotation{{Tag: "server 1", Start: 11, Description: "restart"}})
	dir, err := os.MkdirTemp("", "history")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	fmt.Println(result, porcupine.VisualizePath(models.KV, info, filepath.Join(dir, "history.html")))
	// Output: Illegal <nil>
}
