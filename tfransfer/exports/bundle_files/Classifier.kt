// Gradle: implementation("com.google.ai.edge.litert:litert:1.4.0")
import android.graphics.Bitmap
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter

/** Classifies a photo. [model] is the content of a .tflite file, [labels] the lines of labels.txt. */
class Classifier(model: ByteBuffer, private val labels: List<String>) {
    private val interpreter = Interpreter(model, Interpreter.Options().setNumThreads(2))
    private val size = interpreter.getInputTensor(0).shape()[1]
    private val bytes = interpreter.getOutputTensor(0).dataType() == DataType.UINT8

    fun classify(upright: Bitmap): List<Pair<String, Float>> {
        val colours = IntArray(size * size)
        Bitmap.createScaledBitmap(upright, size, size, true).getPixels(colours, 0, size, 0, 0, size, size)
        val pixels = ByteBuffer.allocateDirect(3 * size * size).order(ByteOrder.nativeOrder())
        for (c in colours) pixels.put((c shr 16).toByte()).put((c shr 8).toByte()).put(c.toByte())  // raw, 0 to 255
        val output = ByteBuffer.allocateDirect(labels.size * if (bytes) 1 else 4).order(ByteOrder.nativeOrder())
        interpreter.run(pixels.rewind(), output)
        val scores = labels.indices.map {
            if (bytes) (output.get(it).toInt() and 255) / 256f else output.getFloat(4 * it)
        }
        return labels.zip(scores).sortedByDescending { it.second }
    }
}
