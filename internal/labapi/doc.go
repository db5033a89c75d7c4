// Package labapi holds the project to the interface that courses rely on: its
// tests compile only while every signature of the labs is there, and fail if a
// package takes a name that a course's own harness, which is compiled into the
// package, declares itself.
package labapi
