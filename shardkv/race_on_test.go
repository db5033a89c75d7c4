//go:build race

package shardkv_test

const raceDetector = true
