package kv_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/kv"
)

func TestMustReturnsResultsAndPanicsWithErrors(t *testing.T) {
	answer := func(result kv.Result, err error) func(context.Context, kv.Op) (kv.Result, error) {
		return func(context.Context, kv.Op) (kv.Result, error) { return result, err }
	}
	require.Equal(t, "v", kv.Must("p", answer(kv.Result{Value: "v"}, nil), kv.Get("k")).Value)
	require.Equal(t, kv.NotFound, kv.Must("p", answer(kv.Result{Code: kv.NotFound}, nil), kv.Get("k")).Code)
	require.Panics(t, func() { kv.Must("p", answer(kv.Result{Code: kv.TooLarge}, nil), kv.Put("k", "v")) })
	require.PanicsWithValue(t, `p: get of "k": no`, func() { kv.Must("p", answer(kv.Result{}, errors.New("no")), kv.Get("k")) })
}
