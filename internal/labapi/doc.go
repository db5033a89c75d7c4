// Package labapi holds the project to the interface of the courses. Its tests compile
// only while every signature of the labs is there. A test also fails for each package
// with a name of the courses' harnesses, because a harness is compiled into the
// package.
package labapi
