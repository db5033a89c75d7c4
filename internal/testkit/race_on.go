//go:build race

package testkit

// raceCost is about how many times slower code runs under the race detector.
const raceCost = 5
